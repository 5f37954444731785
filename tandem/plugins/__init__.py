"""Filters of your own, in Python, for requests that go through a waypoint.

    from tandem.plugins import Filter, Request, Response

    class Tenancy(Filter):
        def on_request(self, request: Request) -> Response | None:
            if "x-tenant" not in request.headers:
                return Response(400, body="which tenant?")
            return None

Filter       the base class: what a filter may define, and when it is called
Request      what was asked, and by whom (Caller); Response: what is answered
Headers      of both: names in any case, several values of a name
Direction    whose body on_body sees
FilterError  a mistake of a filter's author; the message says which

tandem.plugins.testing runs a filter without a mesh. This object brings one into force:

    apiVersion: tandem.io/v1alpha1
    kind: PythonFilter
    metadata: {name: tenancy, namespace: shop}
    spec:
      targetRefs:                  # Service, ServiceEntry or Gateway of this namespace;
      - {kind: Service, name: web} # in istio-system also GatewayClass
      code: |                      # inline, with the class's name,
        ...
      class: Tenancy
      entryPoint: tenancy          # or in place of both, one of the group tandem.plugins,
                                   # of a package that is installed with the waypoint
      config: {header: x-tenant}   # whatever __init__ is to get
      phase: AUTHZ                 # AUTHN, AUTHZ, STATS: before the waypoint's own filters
                                   # of that name; none: after all but fault injection
      priority: 10                 # in a phase the greatest comes first
      failStrategy: FAIL_CLOSE     # a failure is a 500; FAIL_OPEN: goes on without it
      timeout: 50ms                # for one call
      memory: 64Mi                 # beyond what an idle process has

A filter that is edited is loaded beside the one in force, and takes over when it is
loaded; requests that are under way end with the old one. An installed one is read anew
when its object changes, or its process starts. What can't be loaded changes
nothing: the waypoint's log says why, and code that doesn't compile isn't even accepted.

Each plug-in has a process of its own in each worker process of each waypoint, started
when it is configured. It answers one call after the other. It has no network and no files
but those of Python and shared libraries (Landlock, Linux 5.13 and later), no environment,
no way to start processes or threads, to write files or to send signals, a user id of its
own where the waypoint runs as root, and as much address space as memory says. What isn't
to be had on a machine is said in the waypoint's log when the process starts. There is no
seccomp filter: a filter's code may make any system call that a process without rights
may, so that a fault of the kernel's is within its reach.

A call that takes longer than timeout ends the process, which starts anew within seconds,
at first within 50 ms: so does one that exits, crashes, or writes to the process's socket.
The request in question failed; others that waited for the same process are asked anew if
the filter didn't know them yet, else they failed too. Time that the process waited for a
processor isn't the call's. No call waits for its turn for longer than a second: then it
failed. What a filter keeps in memory is lost with its process.
"""

from tandem.plugins.errors import FilterError
from tandem.plugins.filters import Direction, Filter
from tandem.plugins.headers import Headers
from tandem.plugins.messages import Caller, Request, Response

__all__ = ["Caller", "Direction", "Filter", "FilterError", "Headers", "Request", "Response"]
