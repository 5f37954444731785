"""An object's metadata, and the rules that Kubernetes has for names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from deploy.standalone.control.manifests.fields import Fields

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    r"(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

#: Set by API servers and tools; they make no difference here.
INERT = (
    "creationTimestamp", "uid", "resourceVersion", "generation",
    "managedFields", "ownerReferences", "finalizers", "selfLink",
)  # fmt: skip

OWN = "tandem.io/"
#: Of a pod, and of a Service.
ACCELERATE = f"{OWN}accelerate"
BALANCING = f"{OWN}load-balancing"
KNOWN = (ACCELERATE, BALANCING)


class Annotations:
    """An object's annotations. Other programs have theirs, so unknown ones are passed
    over, except those that only this mesh can be meant by.
    """

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        for name in fields.values:
            if name.startswith(OWN) and name not in KNOWN:
                fields.wrong(name, f"unknown annotation: known are {', '.join(KNOWN)}")

    def get(self, name: str) -> str:
        """An annotation's text; empty when it isn't there."""
        return self.fields.text(name)

    def choice(self, name: str, allowed: Collection[str]) -> str:
        """One of some words, whatever their case; empty when it isn't there."""
        found = self.get(name)
        words = {word.lower(): word for word in allowed}
        if found and found.lower() not in words:
            self.fields.wrong(name, f"{found!r} is none of {', '.join(allowed)}")
        return words.get(found.lower(), "")

    def boolean(self, name: str) -> bool:
        """Whether an annotation is "true"."""
        return self.choice(name, ("true", "false")) == "true"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What names and marks an object."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Annotations


def read_metadata(
    document: Fields, *, namespaced: bool = True, names: re.Pattern[str] = SUBDOMAIN
) -> Metadata:
    """Read ``metadata`` of a document; the namespace is "default" when not given."""
    fields = document.child("metadata")
    fields.ignore(*INERT)
    fields.unsupported({"generateName": "give the object a name"})
    name = fields.required("name")
    if name:
        check_name(fields, "name", name, names)
    namespace = ""
    if namespaced:
        namespace = fields.text("namespace") or "default"
        check_name(fields, "namespace", namespace, LABEL)
    else:
        fields.unsupported({"namespace": "objects of this kind have none"})
    labels = fields.labels("labels")
    annotations = Annotations(fields.child("annotations"))
    fields.end()
    return Metadata(namespace, name, labels, annotations)


def check_name(fields: Fields, field: str, name: str, pattern: re.Pattern[str]) -> None:
    """Report a name that isn't made as Kubernetes has it."""
    if not pattern.fullmatch(name):
        start = "a letter" if pattern is SERVICE else "a letter or digit"
        dots = ", dots" if pattern is SUBDOMAIN else ""
        fields.wrong(
            field,
            f"{name!r} is no valid name: use lowercase letters, digits{dots} and dashes, "
            f"{start} first, no dash last, at most {253 if dots else 63} characters",
        )
