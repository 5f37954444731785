"""Labels of a namespace in a file, as a user would write them in an editor."""

from __future__ import annotations

from collections.abc import Mapping

import yaml


def with_labels(text: str, labels: Mapping[str, str]) -> str:
    """Return a text of YAML documents whose one Namespace has exactly these labels."""
    documents = list(yaml.safe_load_all(text))
    (namespace,) = [each for each in documents if each["kind"] == "Namespace"]
    namespace["metadata"]["labels"] = dict(labels)
    return yaml.safe_dump_all(documents, sort_keys=False)
