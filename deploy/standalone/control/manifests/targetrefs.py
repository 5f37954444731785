"""What an object is for: workloads that a selector means, or what targetRefs name."""

from __future__ import annotations

from deploy.standalone.control.extensionapi import TargetRef
from deploy.standalone.control.istioapi import ROOT_NAMESPACE
from deploy.standalone.control.manifests.entries import GROUP as ISTIO
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.gateways import GROUP
from deploy.standalone.control.objects import Labels

#: By kind, the group that it is of.
GROUPS = {
    "Service": ("", "core"),
    "ServiceEntry": (ISTIO,),
    "Gateway": (GROUP,),
    "GatewayClass": (GROUP,),
}


def read_target_refs(spec: Fields, namespace: str) -> tuple[TargetRef, ...]:
    """Read ``targetRefs``, and ``targetRef``."""
    single = spec.child("targetRef")
    given = [*spec.children("targetRefs"), *([] if single.missing else [single])]
    return tuple(read_target_ref(inner, namespace) for inner in given)


def read_selector_or_targets(
    spec: Fields, namespace: str, name: str = "selector", labels: str = "matchLabels"
) -> tuple[Fields, Labels, tuple[TargetRef, ...]]:
    """Read a selector's labels, and targetRefs, of which an object may have one only.

    name, labels: of the fields; the selector may have more fields to be read.
    """
    selector = spec.child(name)
    selected = selector.labels(labels)
    targets = read_target_refs(spec, namespace)
    if selected and targets:
        spec.wrong(name, f"give either {name} or targetRefs")
    return selector, selected, targets


def read_target_ref(fields: Fields, namespace: str) -> TargetRef:
    """Read one of ``targetRefs``."""
    kind, name = fields.required("kind"), fields.required("name")
    group, place = fields.text("group"), fields.text("namespace")
    if kind and kind not in GROUPS:
        fields.wrong("kind", f"{kind!r} is none of {', '.join(GROUPS)}")
    elif kind and group not in GROUPS[kind]:
        fields.wrong("group", f"{kind} is of {GROUPS[kind][0] or 'the core group'!r}")
    if place and place != namespace:
        fields.wrong("namespace", f"only what is in {namespace} itself can be meant")
    if kind == "GatewayClass" and namespace != ROOT_NAMESPACE:
        fields.wrong("kind", f"a GatewayClass can be meant in {ROOT_NAMESPACE} only")
    fields.end()
    return TargetRef(kind, name, fields.path, fields.origin)
