"""A container: the program that stands for the image, and how to see it ready."""

from __future__ import annotations

from pathlib import Path

from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import LABEL, PORT_NAME, check_name
from deploy.standalone.control.objects import (
    Container,
    ContainerPort,
    EnvVar,
    Probe,
    Transport,
)

POD_FIELDS = (
    "metadata.name", "metadata.namespace", "status.podIP", "status.podIPs",
    "spec.nodeName", "spec.serviceAccountName",
)  # fmt: skip
INERT = (
    "image", "imagePullPolicy", "resources", "terminationMessagePath",
    "terminationMessagePolicy", "stdin", "stdinOnce", "tty", "resizePolicy",
)  # fmt: skip
FILES = "a pod sees the files of this machine"
WITHOUT_EFFECT = {
    "livenessProbe": "a program is restarted when it exits",
    "startupProbe": "only readinessProbe is asked",
    "lifecycle": "programs get SIGTERM, and SIGKILL after the grace period",
    "securityContext": "programs run as root",
    "volumeMounts": FILES,
    "volumeDevices": FILES,
}
NO_IMAGE = "images are not pulled here; give the program to run"


def read_container(fields: Fields, folder: Path | None) -> Container:
    """Read one of ``containers``; folder: where a relative workingDir starts."""
    fields.ignore(*INERT)
    fields.without_effect(WITHOUT_EFFECT)
    fields.unsupported({"envFrom": "write the variables in env"})
    name = fields.required("name")
    if name:
        check_name(fields, "name", name, LABEL)
    command = fields.texts("command")
    if not fields.has("command"):
        fields.wrong("command", f"missing: {NO_IMAGE}")
    ports = tuple(read_port(inner) for inner in fields.children("ports"))
    probe = fields.child("readinessProbe")
    container = Container(
        name=name,
        command=command,
        args=fields.texts("args"),
        env=tuple(read_env(inner) for inner in fields.children("env")),
        working_dir=read_working_dir(fields, folder),
        ports=ports,
        readiness=None if probe.missing else read_probe(probe, ports),
    )
    fields.end()
    return container


def read_working_dir(fields: Fields, folder: Path | None) -> str | None:
    """The absolute workingDir, or None when there is none."""
    text = fields.text("workingDir")
    if not text:
        return None
    path = Path(text)
    if path.is_absolute():
        return str(path)
    if folder is None:
        fields.wrong("workingDir", f"{text!r} is relative, and this text is in no file")
        return None
    return str((folder / path).resolve())


def read_port(fields: Fields) -> ContainerPort:
    """Read one of ``ports``."""
    fields.unsupported(
        {
            "hostPort": "the host reaches pods by their addresses and Services",
            "hostIP": "the host reaches pods by their addresses and Services",
        }
    )
    name = fields.text("name")
    if name:
        check_name(fields, "name", name, PORT_NAME)
    transport = Transport(fields.choice("protocol", list(Transport), Transport.TCP))
    port = fields.integer("containerPort", 0, 1, 65535)
    if fields.value("containerPort") is None:
        fields.wrong("containerPort", "missing")
    fields.end()
    return ContainerPort(name, port, transport)


def read_env(fields: Fields) -> EnvVar:
    """Read one of ``env``."""
    name = fields.required("name")
    if "=" in name or "\0" in name:
        fields.wrong("name", f"{name!r} can't name a variable")
    value = fields.text("value")
    source = fields.child("valueFrom")
    field_path = None
    if not source.missing:
        if fields.has("value"):
            fields.wrong("valueFrom", "give either value or valueFrom")
        why = "write the value itself"
        source.unsupported(
            dict.fromkeys(
                ("configMapKeyRef", "secretKeyRef", "resourceFieldRef", "fileKeyRef"), why
            )
        )
        reference = source.child("fieldRef")
        reference.ignore("apiVersion")
        if reference.missing and not source.report.failed:
            source.wrong("fieldRef", "missing")
        elif not reference.missing:
            field_path = reference.choice("fieldPath", POD_FIELDS, POD_FIELDS[0])
        reference.end()
        source.end()
    fields.end()
    return EnvVar(name, value, field_path)


def read_probe(fields: Fields, ports: tuple[ContainerPort, ...]) -> Probe:
    """Read ``readinessProbe``: httpGet or tcpSocket."""
    why = "use httpGet or tcpSocket"
    fields.unsupported({"exec": why, "grpc": why})
    fields.ignore("terminationGracePeriodSeconds")
    http, tcp = fields.child("httpGet"), fields.child("tcpSocket")
    action = tcp if http.missing else http
    if http.missing and tcp.missing and not fields.report.failed:
        fields.wrong("", "needs httpGet or tcpSocket")
    if not http.missing and not tcp.missing:
        fields.wrong("tcpSocket", "give either httpGet or tcpSocket")
    for inner in (http, tcp):
        inner.unsupported({"host": "the pod's own address is asked"})
    http.unsupported({"httpHeaders": "requests carry no further headers"})
    probe = Probe(
        kind="tcp" if http.missing else "http",
        port=0 if action.missing else read_probe_port(action, ports),
        path=http.text("path", "/"),
        scheme=http.choice("scheme", ("HTTP", "HTTPS"), "HTTP"),
        initial_delay=fields.integer("initialDelaySeconds", 0, 0, 86400),
        period=fields.integer("periodSeconds", 10, 1, 86400),
        timeout=fields.integer("timeoutSeconds", 1, 1, 86400),
        failure_threshold=fields.integer("failureThreshold", 3, 1, 1000),
        success_threshold=fields.integer("successThreshold", 1, 1, 1000),
    )
    for inner in (http, tcp):
        inner.known.add("port")
        inner.end()
    fields.end()
    return probe


def read_probe_port(action: Fields, ports: tuple[ContainerPort, ...]) -> int:
    """The probe's port: a number, or a name among the container's ports."""
    wanted = action.number_or_text("port")
    if isinstance(wanted, int):
        return action.integer("port", 0, 1, 65535)
    if wanted is None:
        action.wrong("port", "missing")
        return 0
    for port in ports:
        if port.name == wanted:
            return port.port
    action.wrong("port", f"no port of this container is named {wanted!r}")
    return 0
