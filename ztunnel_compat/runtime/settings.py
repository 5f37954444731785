"""Settings of a process, read from environment variables."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ztunnel_compat.runtime.errors import ConfigError
from ztunnel_compat.runtime.log import LEVELS


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """What every client of the control plane is told.

    instance_ip: its own address; xds_address: ``host:port`` of the control plane;
    xds_root_ca: PEM file of the roots that its certificate is verified with;
    token_path: file of the bearer token that says who we are.
    """

    pod_name: str
    pod_namespace: str
    node_name: str
    instance_ip: str
    xds_address: str
    xds_root_ca: Path
    token_path: Path
    cluster_id: str = "Kubernetes"
    log_level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritySettings:
    """The certificate authority: ``host:port``, and the PEM file of its roots."""

    address: str
    roots: Path


def shown(config: Any) -> dict[str, str]:
    """A process's settings for its dump: one level, every value as text.

    config: a dataclass with ProxySettings as its ``proxy``.
    """
    fields = asdict(config)
    return {name: str(value) for name, value in (fields.pop("proxy") | fields).items()}


class Reader:
    """Reads variables and collects what is wrong with them, to name it all at once."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.faults: list[str] = []

    def optional(self, name: str, default: str) -> str:
        """A variable's value; the default when it is empty or not set."""
        return self.environment.get(name) or default

    def required(self, name: str, what: str) -> str:
        """A variable's value; what it is, for who has not set it."""
        value = self.environment.get(name, "")
        if not value:
            self.faults.append(f"{name} is not set: it is {what}")
        return value

    def path(self, name: str, what: str) -> Path:
        """A required absolute path."""
        value = self.required(name, what)
        if value and not value.startswith("/"):
            self.faults.append(f"{name}={value!r} is no absolute path: it is {what}")
        return Path(value)

    def optional_path(self, name: str, what: str) -> Path | None:
        """An absolute path, if the variable is set."""
        return self.path(name, what) if self.optional(name, "") else None

    def address(self, name: str, what: str) -> str:
        """A required IP address."""
        value = self.required(name, what)
        if value:
            try:
                ipaddress.ip_address(value)
            except ValueError:
                self.faults.append(f"{name}={value!r} is no IP address")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """Texts, separated by commas; none when it is empty or not set."""
        return tuple(filter(None, map(str.strip, self.optional(name, "").split(","))))

    def addresses(self, name: str) -> tuple[str, ...]:
        """IP addresses, separated by commas; none when it is empty or not set."""
        values = self.words(name)
        for value in values:
            try:
                ipaddress.ip_address(value)
            except ValueError:
                self.faults.append(f"{name}: {value!r} is no IP address")
        return values

    def host_port(self, name: str, what: str) -> str:
        """A required ``host:port``."""
        value = self.required(name, what)
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdecimal() and 0 < int(port) < 65536):
            self.faults.append(
                f"{name}={value!r} is no host:port (an IPv6 address goes into brackets)"
            )
        return value

    def choice(self, name: str, default: str, choices: Collection[str]) -> str:
        """One of some words, in any case."""
        value = self.optional(name, default)
        if value.lower() not in choices:
            self.faults.append(f"{name}={value!r} is none of {', '.join(choices)}")
        return value.lower()

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number from 0 to most."""
        value = self.optional(name, str(default))
        if not value.isdecimal() or int(value) > most:
            self.faults.append(f"{name}={value!r} is no number from 0 to {most}")
            return default
        return int(value)

    def proxy(self) -> ProxySettings:
        """The settings that all proxies share."""
        return ProxySettings(
            pod_name=self.required("POD_NAME", "this process's name"),
            pod_namespace=self.required("POD_NAMESPACE", "this process's namespace"),
            node_name=self.required("NODE_NAME", "the name of the node it is on"),
            instance_ip=self.address("INSTANCE_IP", "its own IP address"),
            xds_address=self.host_port("XDS_ADDRESS", "host:port of the control plane"),
            xds_root_ca=self.path("XDS_ROOT_CA", "the file of the control plane's roots, PEM"),
            token_path=self.path("TOKEN_PATH", "the file of the token that says who we are"),
            cluster_id=self.optional("CLUSTER_ID", "Kubernetes"),
            log_level=self.choice("LOG_LEVEL", "info", LEVELS),
        )

    def authority(self, proxy: ProxySettings) -> AuthoritySettings:
        """The settings of whoever needs certificates; by default the control plane's CA."""
        return AuthoritySettings(
            address=(
                self.host_port("CA_ADDRESS", "host:port of the CA")
                if self.optional("CA_ADDRESS", "")
                else proxy.xds_address
            ),
            roots=(
                self.optional_path("CA_ROOT_CA", "the file of the CA's roots, PEM")
                or proxy.xds_root_ca
            ),
        )

    def check(self) -> None:
        """Raise ConfigError, naming every fault, if there is any."""
        if self.faults:
            raise ConfigError("; ".join(self.faults))
