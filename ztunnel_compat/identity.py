"""A workload's identity: a SPIFFE ID as a value."""

from __future__ import annotations

from dataclasses import dataclass

from ztunnel_compat.errors import IdentityError


@dataclass(frozen=True, slots=True)
class Identity:
    """``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``.

    ``str`` and ``parse`` are inverses.
    """

    trust_domain: str
    namespace: str
    service_account: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read a SPIFFE ID of Istio's form; raises IdentityError otherwise."""
        scheme, separator, rest = text.partition("://")
        parts = rest.split("/")
        if (
            scheme != "spiffe"
            or not separator
            or len(parts) != 5
            or parts[1] != "ns"
            or parts[3] != "sa"
            or not all(parts)
        ):
            raise IdentityError(
                f"{text!r} is no workload identity: expected "
                "spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
            )
        return cls(parts[0], parts[2], parts[4])
