"""Manifests that the end-to-end tests put together."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.mesh import PROGRAMS

NO_ANNOTATIONS: Mapping[str, str] = {}


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
    annotations: Mapping[str, str] = NO_ANNOTATIONS,
    node: str = "",
    account: str = "",
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
    notes = "".join(f'    {key}: "{value}"\n' for key, value in annotations.items())
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n"
        + (f"  annotations:\n{notes}" if notes else "")
        + f"  labels:\n    app: {app or name}\n    pod: {name}\n{extra}"
        f"spec:\n  terminationGracePeriodSeconds: 1\n"
        + (f"  nodeName: {node}\n" if node else "")
        + (f"  serviceAccountName: {account}\n" if account else "")
        + "  containers:\n  - name: main\n"
        f"    command: [{command}]\n    env:\n    - name: NAME\n      value: {name}\n{probe}"
    )


def idle(
    name: str,
    namespace: str = "default",
    annotations: Mapping[str, str] = NO_ANNOTATIONS,
    node: str = "",
    **labels: str,
) -> str:
    """A pod to run commands in."""
    return pod(
        name, "idle.py", namespace=namespace, annotations=annotations, node=node, **labels
    )


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


def allow(name: str, namespace: str, rules: str, app: str = "", action: str = "ALLOW") -> str:
    """A policy of a namespace or of its pods of an app; rules: YAML, unindented."""
    indented = "".join(f"  {line}\n" for line in rules.strip().splitlines())
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n"
        f"  name: {name}\n  namespace: {namespace}\nspec:\n"
        + (f"  selector:\n    matchLabels:\n      app: {app}\n" if app else "")
        + f"  action: {action}\n  rules:\n{indented}"
    )


def authentication(
    mode: str, namespace: str = "apps", app: str = "", name: str = "default", **ports: str
) -> str:
    """A PeerAuthentication; ports: modes by port, as p8080="STRICT"."""
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n"
        f"  name: {name}\n  namespace: {namespace}\nspec:\n"
        + (f"  selector:\n    matchLabels:\n      app: {app}\n" if app else "")
        + f"  mtls:\n    mode: {mode}\n"
        + ("  portLevelMtls:\n" if ports else "")
        + "".join(f"    {p.lstrip('p')}:\n      mode: {m}\n" for p, m in ports.items())
    )


def account(name: str, namespace: str = "apps") -> str:
    """A ServiceAccount."""
    return (
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n"
        f"  name: {name}\n  namespace: {namespace}\n"
    )


def entry(name: str, address: str, namespace: str = "apps") -> str:
    """A WorkloadEntry with a service account of its name."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata:\n"
        f"  name: {name}\n  namespace: {namespace}\n  labels:\n    app: {name}\n"
        f"spec:\n  address: {address}\n  serviceAccount: {name}\n"
    )


def documents(*parts: str) -> str:
    """One file of several documents."""
    return "---\n".join(parts)
