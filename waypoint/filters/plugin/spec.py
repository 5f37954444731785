"""What a plug-in is asked to be: a value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

#: Seconds of one call, unless the object says otherwise.
TIMEOUT = 0.05
#: Bytes beyond what an idle process has, unless the object says otherwise.
MEMORY = 64 << 20


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """A plug-in's code and settings.

    code: inline, or empty: an entry point's class; class_name: of inline code; config:
    JSON; fail_open: whether requests go on without it when it fails; timeout: seconds of
    a call; memory: bytes that it may have; key: what names all of this.
    """

    name: str
    code: str = ""
    class_name: str = ""
    entry_point: str = ""
    config: str = "{}"
    fail_open: bool = False
    timeout: float = TIMEOUT
    memory: int = MEMORY
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parts = (
            self.name, self.code, self.class_name, self.entry_point, self.config,
            self.fail_open, self.timeout, self.memory,
        )  # fmt: skip
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        object.__setattr__(self, "key", digest[:24])
