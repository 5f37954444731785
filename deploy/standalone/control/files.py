"""Feeds the engine from watched files."""

from __future__ import annotations

import asyncio
from pathlib import Path

from deploy.standalone.control.catalog import Catalog, Source
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.manifests.documents import Loaded, load
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.watch import MAX_FILES, Findings, Look, Watcher, look

#: Seconds between two looks. Polling sees what inotify misses: overlay mounts,
#: network file systems, links to links.
INTERVAL = 0.2


class ManifestFiles:
    """The files and folders that ``--file`` names."""

    def __init__(self, roots: tuple[Path, ...], engine: Engine) -> None:
        self.roots = roots
        self.engine = engine
        self.watcher = Watcher()

    async def read_all(self) -> None:
        """Read everything once. Files that are gone since the last run hold nothing."""
        now = look(self.roots)
        catalog = self.engine.catalog
        for source in catalog.sources:
            if Path(source).is_absolute() and source not in now.files:
                catalog = catalog.without(source)
        self.engine.set_catalog(catalog)
        await self.take(self.watcher.first(now), now)

    async def run(self) -> None:
        """Follow what changes, for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            now = look(self.roots)
            await self.take(self.watcher.next(now), now)

    async def take(self, findings: Findings, now: Look) -> None:
        """Read what is to be read, forget what is gone."""
        contents = {path: await asyncio.to_thread(read, path) for path in findings.read}
        # Only now: the API may have changed the catalog in the meantime.
        catalog = self.engine.catalog
        for path in findings.gone:
            catalog = catalog.without(path)
        for path, loaded in contents.items():
            catalog = catalog.loaded(path, loaded)
        catalog = with_roots(catalog, self.roots, findings.missing, now)
        if catalog is not self.engine.catalog:
            self.engine.set_catalog(catalog)


def with_roots(
    catalog: Catalog, roots: tuple[Path, ...], missing: frozenset[str], now: Look
) -> Catalog:
    """The catalog with what is wrong with the roots themselves."""
    for root in roots:
        name = str(root)
        problems: tuple[Problem, ...] = ()
        if name in missing:
            problems = (Problem(name, 1, "", "no such file or directory"),)
        elif name in now.files:
            continue
        elif now.overflow:
            problems = (Problem(name, 1, "", f"only {MAX_FILES} files are watched"),)
        present = catalog.sources.get(name)
        if present is None and problems:
            catalog = catalog.with_source(name, Source(problems=problems))
        elif present is not None and not present.documents:
            if not problems:
                catalog = catalog.without(name)
            elif present.problems != problems:
                catalog = catalog.with_source(name, Source(problems=problems))
    return catalog


def read(path: str) -> Loaded:
    """Read a manifest; what can't be read is a problem, and keeps what it held."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        problem = Problem(path, 1, "", f"can't be read: {error.strerror}")
        return Loaded(problems=(problem,), unreadable=True)
    return load(content, path, Path(path).parent)
