from __future__ import annotations

from daemon.policies.identities import Account, identity_hash, workload_identity
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash


def test_an_account_takes_its_trust_domain_from_the_control_plane():
    account = Account("app", "web")
    assert account.identity(None) == Identity("cluster.local", "app", "web")
    told = Workload("uid", namespace="x", service_account="y", trust_domain="td")
    assert account.identity(told) == Identity("td", "app", "web")


def test_a_workloads_identity():
    told = Workload("uid", namespace="x", service_account="y", trust_domain="td")
    assert workload_identity(told) == Identity("td", "x", "y")


def test_the_hash_is_of_the_text():
    identity = Identity("td", "x", "y")
    assert identity_hash(identity) == name_hash("spiffe://td/ns/x/sa/y")
