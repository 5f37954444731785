"""Manifests that the end-to-end tests put together."""

from __future__ import annotations

from tests.support.mesh import PROGRAMS


def namespace(name: str, **labels: str) -> str:
    """A namespace; keyword arguments are istio.io/ labels, underscores as dashes."""
    lines = "".join(f"    istio.io/{k.replace('_', '-')}: {v}\n" for k, v in labels.items())
    return f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n" + (
        f"  labels:\n{lines}" if lines else ""
    )


def pod(
    name: str,
    program: str,
    *arguments: str,
    namespace: str = "default",
    app: str = "",
    port: int | None = None,
    **labels: str,
) -> str:
    """A pod that runs one of the programs; ready when its port answers."""
    command = ", ".join(f'"{a}"' for a in ("/usr/bin/python3", PROGRAMS / program, *arguments))
    probe = (
        ""
        if port is None
        else (f"    readinessProbe:\n      tcpSocket:\n        port: {port}\n")
    )
    extra = "".join(f"    istio.io/{k.replace('_', '-')}: {v}\n" for k, v in labels.items())
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n"
        f"  labels:\n    app: {app or name}\n    pod: {name}\n{extra}"
        f"spec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n"
        f"    command: [{command}]\n    env:\n    - name: NAME\n      value: {name}\n{probe}"
    )


def idle(name: str, namespace: str = "default", **labels: str) -> str:
    """A pod to run commands in."""
    return pod(name, "idle.py", namespace=namespace, **labels)


def service(
    name: str,
    port: int,
    target: int,
    *,
    namespace: str = "default",
    port_name: str = "http",
    selector: str = "",
    dual: bool = True,
    **labels: str,
) -> str:
    """A service; dual stack unless said otherwise. selector: `label: value`."""
    extra = "".join(f"    istio.io/{k.replace('_', '-')}: {v}\n" for k, v in labels.items())
    return (
        f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\n"
        + (f"  labels:\n{extra}" if extra else "")
        + "spec:\n"
        + ("  ipFamilyPolicy: PreferDualStack\n" if dual else "")
        + f"  selector:\n    {selector or f'app: {name}'}\n"
        f"  ports:\n  - name: {port_name}\n    port: {port}\n    targetPort: {target}\n"
    )


def gateway(name: str, namespace: str = "default", waypoint_for: str = "service") -> str:
    """A waypoint."""
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n"
        f"  name: {name}\n  namespace: {namespace}\n"
        f"  labels:\n    istio.io/waypoint-for: {waypoint_for}\n"
        "spec:\n  gatewayClassName: tandem-waypoint\n  listeners:\n"
        "  - name: mesh\n    port: 15008\n    protocol: HBONE\n"
        "    allowedRoutes:\n      namespaces:\n        from: All\n"
    )


def route(name: str, parent: str, rules: str, namespace: str = "default") -> str:
    """An HTTPRoute of a service; rules: the YAML below `rules:`, unindented."""
    indented = "".join(f"  {line}\n" for line in rules.strip().splitlines())
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n"
        f"  name: {name}\n  namespace: {namespace}\n"
        f"spec:\n  parentRefs:\n  - group: ''\n    kind: Service\n    name: {parent}\n"
        f"  rules:\n{indented}"
    )


def split(v1: int, v2: int, prefix: str = "web", port: int = 80) -> str:
    """The rules of a weighted split between prefix-v1 and prefix-v2."""
    return (
        f"- backendRefs:\n  - name: {prefix}-v1\n    port: {port}\n    weight: {v1}\n"
        f"  - name: {prefix}-v2\n    port: {port}\n    weight: {v2}\n"
    )


def documents(*parts: str) -> str:
    """One file of several documents."""
    return "---\n".join(parts)
