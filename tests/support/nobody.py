"""Running something as a user without privileges."""

from __future__ import annotations

#: Such a user may not even read a repository in root's home; this one may, and
#: nothing else.
_MAY_READ = "-all,+dac_read_search"
AS_NOBODY = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    f"--inh-caps={_MAY_READ}",
    f"--ambient-caps={_MAY_READ}",
)
