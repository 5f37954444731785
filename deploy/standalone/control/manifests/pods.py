"""Namespaces, service accounts, Pods and Deployments."""

from __future__ import annotations

from pathlib import Path

from deploy.standalone.control.manifests.containers import read_container
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import (
    ACCELERATE,
    LABEL,
    Annotations,
    check_name,
    read_metadata,
)
from deploy.standalone.control.manifests.services import DISTRIBUTION, DISTRIBUTIONS
from deploy.standalone.control.objects import (
    Deployment,
    Labels,
    Locality,
    Namespace,
    Node,
    Pod,
    PodTemplate,
    ServiceAccount,
)

MAX_REPLICAS = 1000
#: Labels of a node.
REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"

SCHEDULING = "pods are spread over the nodes; nodeName and nodeSelector choose"
FILES = "a pod sees the files of this machine"
#: Fields of a pod that work elsewhere, and what happens here instead.
WITHOUT_EFFECT = {
    "affinity": SCHEDULING,
    "topologySpreadConstraints": SCHEDULING,
    "volumes": FILES,
    "securityContext": "programs run as root",
    "priorityClassName": "nothing is preempted",
    "initContainers": "only containers run",
    "dnsPolicy": "pods ask the cluster DNS",
    "dnsConfig": "pods ask the cluster DNS",
    "hostAliases": "pods ask the cluster DNS",
    "activeDeadlineSeconds": "pods run until they are deleted",
}
UNSUPPORTED = {
    "hostNetwork": "a pod has a network namespace of its own",
    "hostPID": "pods share no namespaces",
    "hostIPC": "pods share no namespaces",
    "hostname": "a pod's hostname is its name",
    "subdomain": "pods have no DNS names of their own",
    "ephemeralContainers": "use `tandem exec`",
}
INERT = (
    "automountServiceAccountToken", "enableServiceLinks", "imagePullSecrets", "overhead",
    "preemptionPolicy", "priority", "runtimeClassName", "schedulerName", "tolerations",
    "shareProcessNamespace",
)  # fmt: skip

#: A change of the template keeps the old pods until all new ones are ready.
ROLLOUT = ("strategy", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")


def read_namespace(document: Fields, _folder: Path | None) -> Namespace:
    """Read a Namespace."""
    metadata = read_metadata(document, namespaced=False, names=LABEL)
    document.ignore("spec", "status")
    distribution = metadata.annotations.choice(DISTRIBUTION, DISTRIBUTIONS)
    return Namespace(metadata.name, metadata.labels, document.origin, distribution)


def read_node(document: Fields, _folder: Path | None) -> Node:
    """Read a Node: its labels say where it is, and which pods it takes."""
    metadata = read_metadata(document, namespaced=False)
    document.ignore("spec", "status")
    parts = [metadata.labels.get(label, "") for label in (REGION, ZONE, SUBZONE)]
    return Node(metadata.name, Locality(*parts), document.origin, metadata.labels)


def read_service_account(document: Fields, _folder: Path | None) -> ServiceAccount:
    """Read a ServiceAccount."""
    metadata = read_metadata(document)
    document.ignore("secrets", "imagePullSecrets", "automountServiceAccountToken")
    return ServiceAccount(metadata.namespace, metadata.name, document.origin)


def read_pod(document: Fields, folder: Path | None) -> Pod:
    """Read a Pod. folder: where a relative workingDir starts."""
    metadata = read_metadata(document)
    document.ignore("status")
    template = read_template(
        document.child("spec"), metadata.labels, metadata.annotations, folder
    )
    return Pod(metadata.namespace, metadata.name, template, document.origin)


def read_deployment(document: Fields, folder: Path | None) -> Deployment:
    """Read a Deployment. folder: where a relative workingDir starts."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    spec.ignore(*ROLLOUT)
    spec.unsupported({"paused": "edit the Deployment when it may go on"})
    replicas = spec.integer("replicas", 1, 0, MAX_REPLICAS)
    inner = spec.child("template")
    if inner.missing:
        spec.wrong("template", "missing: give the pods' labels and containers")
    about = inner.child("metadata")
    about.ignore("name", "namespace", "creationTimestamp")
    labels = about.labels("labels")
    annotations = Annotations(about.child("annotations"))
    about.end()
    template = read_template(inner.child("spec"), labels, annotations, folder)
    inner.end()
    selector = spec.child("selector")
    selector.unsupported({"matchExpressions": "use matchLabels"})
    check_selector(selector, selector.labels("matchLabels"), labels)
    selector.end()
    spec.end()
    return Deployment(metadata.namespace, metadata.name, replicas, template, document.origin)


def check_selector(selector: Fields, wanted: Labels, labels: Labels) -> None:
    """Report a selector that doesn't select the template's own pods."""
    if not wanted:
        selector.wrong("matchLabels", "missing: name labels of spec.template.metadata.labels")
    for key, value in wanted.items():
        if labels.get(key) != value:
            selector.wrong(
                "matchLabels",
                f"{key}: {value} is not among spec.template.metadata.labels",
            )


def read_template(
    spec: Fields, labels: Labels, annotations: Annotations, folder: Path | None
) -> PodTemplate:
    """Read a pod's spec."""
    if spec.missing:
        spec.wrong("", "missing")
    spec.without_effect(WITHOUT_EFFECT)
    spec.unsupported(UNSUPPORTED)
    spec.ignore(*INERT)
    inner = spec.children("containers")
    if not inner and not spec.missing:
        spec.wrong("containers", "missing: give at least one program to run")
    containers = tuple(read_container(fields, folder) for fields in inner)
    names = [container.name for container in containers]
    for index, name in enumerate(names):
        if name and name in names[:index]:
            spec.wrong("containers", f"two containers are named {name!r}")
    account = spec.text("serviceAccountName") or spec.text("serviceAccount") or "default"
    node = spec.text("nodeName") or None
    if node:
        check_name(spec, "nodeName", node, LABEL)
    template = PodTemplate(
        labels=labels,
        containers=containers,
        service_account=account,
        node=node,
        restart_policy=spec.choice("restartPolicy", ("Always", "OnFailure", "Never"), "Always"),
        grace_period=spec.integer("terminationGracePeriodSeconds", 30, 0, 3600),
        accelerate=annotations.boolean(ACCELERATE),
        node_selector=spec.labels("nodeSelector"),
    )
    spec.end()
    return template
