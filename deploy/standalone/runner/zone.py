"""What the cluster DNS answers, as a value made from the services.

Names and record types follow Kubernetes' DNS specification. Of other domains only
the addresses of ServiceEntries' hosts are answered here, as ztunnel does.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
from dns.rdtypes.IN.SRV import SRV

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.spec import EndpointView, ServicePortView, ServiceView

logger = logging.getLogger(__name__)

#: Seconds. As in clusters: endpoints of headless services move.
TTL = 5
WILDCARD = dns.name.from_text("*", origin=None)
ADDRESSES = (dns.rdatatype.A, dns.rdatatype.AAAA)

Kind = dns.rdatatype.RdataType
Records = dict[dns.name.Name, dict[Kind, list[dns.rdata.Rdata]]]


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    exists: the name does (with no records: it has none of the type, NODATA);
    additional: addresses of what the records point at.
    """

    exists: bool
    records: tuple[dns.rdata.Rdata, ...] = ()
    additional: tuple[tuple[dns.name.Name, dns.rdata.Rdata], ...] = ()


class Zone:
    """The names of a cluster with these services."""

    def __init__(
        self,
        config: MeshConfig,
        services: Iterable[ServiceView],
        shuffle: Callable[[list[dns.rdata.Rdata]], None] = random.shuffle,
    ) -> None:
        self.config = config
        self.shuffle = shuffle
        self.domain = dns.name.from_text(config.cluster_domain)
        domain = self.domain.to_text()
        names = f"ns.dns.{domain} hostmaster.{domain}"
        self.soa = record(Kind.SOA, f"{names} 1 7200 1800 86400 {TTL}")
        self.records: Records = {}
        add(self.records, self.domain, Kind.SOA, self.soa)
        self.hosts: Records = {}
        for service in services:
            try:
                if service.entry:
                    add_host(self.hosts, service)
                else:
                    add_service(self.records, service)
            except dns.exception.DNSException as error:
                logger.warning("service %s can't be in DNS: %s", service.hostname, error)
        self.names = set(self.records)
        for name in self.records:
            self.add_parents(name)

    def add_parents(self, name: dns.name.Name) -> None:
        """A name exists when one below it does (RFC 8020)."""
        while name != self.domain and name.is_subdomain(self.domain):
            name = name.parent()
            self.names.add(name)

    def answer(self, name: dns.name.Name, kind: Kind) -> Answer | None:
        """Answer a question, or None when someone else must.

        Several addresses come in a random order each time: clients take the first.
        """
        if name not in self.names:
            host = self.answer_host(name, kind)
            if host is not None or not self.owns(name):
                return host
        found = list(self.records.get(name, {}).get(kind, ()))
        self.shuffle(found)
        additional = tuple(
            (one.target, address)
            for one in found
            if isinstance(one, SRV)
            for of_kind in (Kind.A, Kind.AAAA)
            for address in self.records.get(one.target, {}).get(of_kind, ())
        )
        return Answer(name in self.names, tuple(found), additional)

    def answer_host(self, name: dns.name.Name, kind: Kind) -> Answer | None:
        """Answer with a ServiceEntry's addresses, or None: a name's other records, and
        hosts without an address, are for who owns the name.
        """
        records = next((self.hosts[n] for n in candidates(name) if n in self.hosts), None)
        if records is None or kind not in ADDRESSES:
            return None
        found = list(records.get(kind, ()))
        self.shuffle(found)
        return Answer(True, tuple(found))

    def owns(self, name: dns.name.Name) -> bool:
        """Whether nobody else can know a name: the cluster's domain and addresses."""
        if name.is_subdomain(self.domain):
            return True
        try:
            address = dns.reversename.to_address(name)
        except (dns.exception.DNSException, ValueError):
            return False
        config = self.config
        if ":" in address:
            return within(address, (config.pod_cidr6, config.service_cidr6))
        return within(address, (config.pod_cidr4, config.service_cidr4))


def within(address: str, cidrs: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether an address is in one of the ranges."""
    return any(ip_address(address) in cidr for cidr in cidrs)


def record(kind: Kind, text: str) -> dns.rdata.Rdata:
    """A record in the form that zone files have."""
    return dns.rdata.from_text(dns.rdataclass.IN, kind, text)


def add(records: Records, name: dns.name.Name, kind: Kind, added: dns.rdata.Rdata) -> None:
    """Add a record, once."""
    of_kind = records.setdefault(name, {}).setdefault(kind, [])
    if added not in of_kind:
        of_kind.append(added)


def add_address(records: Records, name: dns.name.Name, address: str) -> None:
    """Add an A or AAAA record."""
    if ":" in address:
        add(records, name, Kind.AAAA, record(Kind.AAAA, address))
    else:
        add(records, name, Kind.A, record(Kind.A, address))


def add_service(records: Records, service: ServiceView) -> None:
    """Add a service: its VIPs, or its ready endpoints when it is headless."""
    name = dns.name.from_text(service.hostname)
    records.setdefault(name, {})  # it exists, even without an address
    if not service.headless:
        for vip in service.vips:
            add_address(records, name, vip)
            reverse = dns.reversename.from_address(vip)
            add(records, reverse, Kind.PTR, record(Kind.PTR, name.to_text()))
        for port in service.ports:
            add_srv(records, name, port, port.port, name)
        return
    for endpoint in service.endpoints:
        if endpoint.ready:
            add_endpoint(records, name, service, endpoint)


def candidates(name: dns.name.Name) -> Iterator[dns.name.Name]:
    """A name and the wildcards that cover it, the closest first."""
    yield name
    while len(name) > 1:
        name = name.parent()
        yield WILDCARD.concatenate(name)


def add_host(hosts: Records, service: ServiceView) -> None:
    """Add a ServiceEntry's host; one without addresses is no name of ours."""
    name = dns.name.from_text(service.hostname)
    for vip in service.vips:
        add_address(hosts, name, vip)


def add_endpoint(
    records: Records, name: dns.name.Name, service: ServiceView, endpoint: EndpointView
) -> None:
    """Add an endpoint of a headless service, by pod name and by dashed address."""
    own = dns.name.from_text(endpoint.pod, name)
    for address in endpoint.ips:
        dashed = dns.name.from_text(address.replace(".", "-").replace(":", "-"), name)
        for owner in (name, own, dashed):
            add_address(records, owner, address)
    for port in service.ports:
        target = endpoint.ports.get(port.port)
        if target:
            add_srv(records, name, port, target, own)


def add_srv(
    records: Records,
    service: dns.name.Name,
    port: ServicePortView,
    number: int,
    target: dns.name.Name,
) -> None:
    """Add a SRV record for a port that has a name."""
    if port.name:
        owner = dns.name.from_text(f"_{port.name}._{port.protocol.lower()}", service)
        add(records, owner, Kind.SRV, record(Kind.SRV, f"0 100 {number} {target}"))
