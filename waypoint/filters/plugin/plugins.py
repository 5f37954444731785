"""All plug-ins of a worker: which versions there are, and which is in force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from waypoint.errors import PluginError
from waypoint.filters.plugin.spec import PluginSpec
from waypoint.filters.plugin.version import State, Version
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

#: Versions at a time, each of which has a process.
MOST_VERSIONS = 64


@dataclass(slots=True)
class Plugin:
    """One plug-in's versions, by key. good: the one that was in force last, or None."""

    versions: dict[str, Version] = field(default_factory=dict)
    good: Version | None = None


class Plugins:
    """Loads what is configured, and lets the last good version stand in meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tasks: Tasks) -> None:
        self.loop = loop
        self.tasks = tasks
        self.plugins: dict[str, Plugin] = {}
        #: What was configured when last looked.
        self.configured: frozenset[PluginSpec] = frozenset()

    def sync(self, specs: Iterable[PluginSpec]) -> None:
        """What is configured now: load what is new, end what is old."""
        configured = frozenset(specs)
        if configured == self.configured:
            return
        self.configured = configured
        for plugin in self.plugins.values():
            for version in plugin.versions.values():
                version.wanted = version.spec in configured
        for spec in configured:
            plugin = self.plugins.setdefault(spec.name, Plugin())
            if spec.key not in plugin.versions:
                self.add(plugin, spec)
        for name in list(self.plugins):
            self.tidy(name)

    def add(self, plugin: Plugin, spec: PluginSpec) -> None:
        """A new version, where there may be one more."""
        if sum(len(each.versions) for each in self.plugins.values()) < MOST_VERSIONS:
            plugin.versions[spec.key] = Version(spec, self.loop, self.tasks)
        else:
            logger.error("%s isn't loaded: there are %d already", spec.name, MOST_VERSIONS)

    def current(self, spec: PluginSpec) -> Version | None:
        """The version to be asked, None while it is loading. Raises PluginError."""
        plugin = self.plugins.get(spec.name)
        if plugin is None:
            raise PluginError("isn't configured any more, or one too many")
        version = plugin.versions.get(spec.key)
        if version is not None and version.state is State.READY:
            if plugin.good is not version:
                plugin.good = version
                self.tidy(spec.name)
            return version
        if version is not None:
            version.asked()
        good = plugin.good
        if good is not None and good.state is State.READY:
            return good
        if version is None:
            raise PluginError("isn't configured any more, or one too many")
        if version.state is State.LOADING:
            return None
        raise PluginError(f"can't be loaded: {version.error}")

    async def find(self, spec: PluginSpec) -> Version:
        """The version to be asked, once there is one. Raises PluginError."""
        while (found := self.current(spec)) is None:
            await self.plugins[spec.name].versions[spec.key].settled.wait()
        return found

    def left(self, version: Version) -> None:
        """A request that was under way with a version isn't any more."""
        version.sessions -= 1
        if not version.sessions and not version.wanted:
            self.tidy(version.spec.name)

    def tidy(self, name: str) -> None:
        """End versions that are neither wanted nor used, nor stand in for one that is."""
        plugin = self.plugins.get(name)
        if plugin is None:
            return
        wanted = [version for version in plugin.versions.values() if version.wanted]
        stands_in = bool(wanted) and all(each.state is not State.READY for each in wanted)
        for key, version in list(plugin.versions.items()):
            if version.wanted or version.sessions or (stands_in and version is plugin.good):
                continue
            del plugin.versions[key]
            version.host.close()
            if plugin.good is version:
                plugin.good = None
        if not plugin.versions:
            del self.plugins[name]

    def dump(self) -> dict[str, object]:
        """All versions by plug-in, JSON-able."""
        return {
            name: [version.dump() for version in plugin.versions.values()]
            for name, plugin in self.plugins.items()
        }
