"""Workloads' labels, which istio.workload has no field for.

They ride on a Workload as an Extension of this name, a google.protobuf.Struct of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from ztunnel_compat.model import Workload

LABELS_EXTENSION: Final = "tandem.io/labels"
STRUCT_TYPE: Final = "type.googleapis.com/google.protobuf.Struct"
NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
#: Label sets that were decoded before and may be met again: pods of one template share.
SHARED = 4096


def workload_labels(workload: Workload) -> Mapping[str, str]:
    """A workload's labels; none where they aren't there, or are no Struct of texts."""
    for extension in workload.extensions:
        if extension.name == LABELS_EXTENSION and extension.type_url == STRUCT_TYPE:
            return decode_labels(extension.value)
    return NO_LABELS


@lru_cache(maxsize=SHARED)
def decode_labels(value: bytes) -> Mapping[str, str]:
    """Decode a Struct; what isn't a text is left out."""
    try:
        entries = Struct.FromString(value).items()
    except DecodeError:
        return NO_LABELS
    return MappingProxyType({name: text for name, text in entries if isinstance(text, str)})
