"""What a restart must find: objects, addresses, pods' nodes, waypoints in use.

Two JSON files in the state directory, each replaced as a whole. One that can't
be read counts as missing: files are read again anyway, and what was applied
through the API is lost with a line in the log that says so.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from deploy.standalone.control.allocate import parse_addresses
from deploy.standalone.control.catalog import Catalog, Source
from deploy.standalone.control.errors import StateError
from deploy.standalone.control.manifests.documents import Document, load
from deploy.standalone.control.objects import Deployment
from deploy.standalone.control.view import Carried

logger = logging.getLogger(__name__)


class StateStore:
    """The state directory; it is made when it doesn't exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = folder / "objects.json"
        self.carried = folder / "carried.json"

    def load_catalog(self) -> Catalog:
        """The objects that were last in force."""
        sources = {}
        for source, documents in self.read(self.objects).items():
            found: dict[Any, Document] = {}
            for each in documents:
                loaded = load(each["text"], each["file"], folder_of(each["file"]), each["line"])
                for problem in loaded.problems:
                    logger.warning("kept from before: %s", problem)
                found.update((document.value.key, document) for document in loaded.documents)
            sources[source] = Source(found)
        return Catalog(sources)

    def save_catalog(self, catalog: Catalog) -> None:
        """Keep the objects in force; raises StateError."""
        self.write(
            self.objects,
            {
                source: [
                    {"file": d.value.origin.file, "line": d.line, "text": d.text}
                    for d in content.documents.values()
                ]
                for source, content in catalog.sources.items()
            },
        )

    def load_carried(self, catalog: Catalog) -> Carried:
        """Addresses, nodes and waypoints in use; the catalog tells what pods were made from."""
        content = self.read(self.carried)
        deployments = [d for d in catalog.objects().values() if isinstance(d, Deployment)]
        return Carried(
            addresses={
                split(name): parse_addresses(texts)
                for name, texts in content.get("addresses", {}).items()
            },
            revisions={(d.namespace, d.name, None): (d,) for d in deployments},
            places={split(name): node for name, node in content.get("places", {}).items()},
            waypoints=frozenset(split(name) for name in content.get("waypoints", [])),
            vips={
                split(name): parse_addresses(texts)
                for name, texts in content.get("vips", {}).items()
            },
            names={
                name: parse_addresses(texts) for name, texts in content.get("names", {}).items()
            },
            authentications=tuple(map(split, content.get("authentications", []))),
            members={
                node: frozenset(uids) for node, uids in content.get("members", {}).items()
            },
        )

    def save_carried(self, carried: Carried) -> None:
        """Keep addresses, nodes and waypoints in use; raises StateError."""
        self.write(
            self.carried,
            {
                "addresses": {
                    "/".join(name): [str(address) for address in addresses]
                    for name, addresses in carried.addresses.items()
                },
                "places": {"/".join(name): node for name, node in carried.places.items()},
                "waypoints": sorted("/".join(name) for name in carried.waypoints),
                "vips": {
                    "/".join(name): [str(address) for address in addresses]
                    for name, addresses in carried.vips.items()
                },
                "names": {
                    name: [str(address) for address in addresses]
                    for name, addresses in carried.names.items()
                },
                "authentications": ["/".join(name) for name in carried.authentications],
                "members": {node: sorted(uids) for node, uids in carried.members.items()},
            },
        )

    def read(self, path: Path) -> dict[str, Any]:
        """A file's content; empty when there is none, or none that can be used."""
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.error("%s can't be used, going on without it: %s", path, error)
            return {}
        if not isinstance(content, dict):
            logger.error("%s can't be used, going on without it: no JSON object", path)
            return {}
        return content

    def write(self, path: Path, content: object) -> None:
        """Replace a file, so that no reader and no crash sees half of it."""
        scratch = path.with_suffix(".new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with scratch.open("w") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except OSError as error:
            raise StateError(f"{path} can't be written: {error}") from error


def folder_of(file: str) -> Path | None:
    """Where relative paths of a manifest start; None when it came from no file."""
    path = Path(file)
    return path.parent if path.is_absolute() else None


def split(name: str) -> tuple[str, str]:
    """A namespace and a name that were joined by a slash."""
    namespace, _, rest = name.partition("/")
    return namespace, rest
