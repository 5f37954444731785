"""`tandem up` as a library: one machine's mesh, brought up and taken down.

app         Mesh: the composition of all that follows
preflight   what must be so before anything is made; lock: one runner per mesh
cleanup     removes everything of a mesh, whoever ended its runner and how
system      the mesh's own processes: control plane, one daemon per node

tokens      token files of node agents and waypoints, renewed in time
controlapi  snapshots come in, statuses go out; spec: snapshots as values
fleet       snapshot → pods; a slot holds at most one pod of a name
pod         one pod: network, cgroup, files, enrolment by ZDS, containers
container   one process: started, probed, started again, stopped
probe       readiness, from sockets of a cgroup that only probes have (probesockets)
launch      the little program that enters a pod's place and becomes its command

netns       named network namespaces, and threads that live in one
network     fabric, nodes, host; wiring: a pod's routed interface; links: netlink
sourcecheck pods send from their own addresses only
node        a node's addresses (ipam), sockets, ZDS server, and its two stand-ins:
balancer    kube-proxy's: nftables from the services (ruleset)
dnsserver   CoreDNS's: the cluster's names (zone), the rest forwarded (upstream)
"""
