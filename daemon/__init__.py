"""The node agent: the mesh as the control plane says it, put into the kernel.

content     what one service, workload or address means to the kernel programs
sets        the endpoints behind a service's ports; alias: their weights
locality    which endpoints are near enough, and where the node is
places      who stands at an address or range, for everyone and per namespace
pods        what the kernel knows of enrolled pods; waypoints: who is one
desired     the maps as they should be, kept up to date by what changed
operations  writes and deletes of map entries, and what belongs together, as values
programmed  the maps as they are, as far as this process has seen and written
reconcile   (programmed, desired) -> ordered map operations; the heart, pure
program     executes operations in slices, and remembers what didn't fit
enroll      pods that ZDS names: their map entry, socket lookup, sysctl (pod_netns)
members/    processes without a pod, enrolled by their cgroup
policies/   who may connect: guards and policy sets
tunnel/     HBONE to other nodes and from them
departed    network namespaces that ended (netns_watch), and the flows that they left
stranded    UDP sockets whose endpoint is gone
sock_diag   the sockets of a network namespace, asked of the kernel, and closed
dns/        DNS for enrolled pods, in place of the cluster DNS
agent       ties the above to the xDS and ZDS streams; says when it is ready
upgrade     what an earlier process left in the kernel: adopted, or taken over from
telemetry/  metrics and the access log
dumps       /config_dump and /debug/tables, for the admin port
config      the process's settings; the only reader of the environment
app         the composition root

group       operations that are done together or undone
scope       the keys that an update may have changed
set         the endpoints behind one port of a service, in one address family
generation  the number under which the kernel finds a set's endpoints
"""
