"""The policies beside the sample that they are for."""

from __future__ import annotations

from pathlib import Path

import deploy
from proto import authorization_pb2 as pb
from tests.deploy.standalone.control.helpers import Mesh
from tests.support.bookinfo import SAMPLE

FOLDER = Path(deploy.__file__).parent / "samples" / "authorization"


def mesh() -> Mesh:
    paths = sorted([*SAMPLE.glob("*.yaml"), *FOLDER.glob("*.yaml")])
    made = Mesh(*(path.read_text() for path in paths))
    made.report()
    return made


def test_nothing_is_wrong_and_every_policy_holds_for_pods() -> None:
    made = mesh()
    assert made.messages() == []
    named = {
        workload.workload_name.partition("-")[0]: set(workload.authorization_policies)
        for workload in made.workloads().values()
        if workload.authorization_policies
    }
    assert named == {
        "ratings": {"bookinfo/ratings-through-the-waypoint"},
        "details": {"bookinfo/details-not-for-others"},
        "reviews": {"bookinfo/reviews-try-out"},
    }


def test_the_accounts_are_those_of_the_sample() -> None:
    made = mesh()
    accounts = {workload.service_account for workload in made.workloads().values()}
    for resource in made.view.contents.policies.values():
        policy = pb.Authorization.FromString(resource.value)
        for rule in policy.rules:
            for match in (match for clause in rule.clauses for match in clause.matches):
                for account in (*match.service_accounts, *match.not_service_accounts):
                    assert account.namespace == "bookinfo"
                    assert account.serviceAccount in accounts
        assert policy.dry_run == (policy.name == "reviews-try-out")
