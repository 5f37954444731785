"""Processes of the mesh that have no network namespace of their own.

member      a cgroup whose processes count as one workload, with all below it
members     takes cgroups in and lets them go; remembers them over a restart
homes       their network namespaces, where tunnels to other nodes begin and end
cgroups     what is done to a cgroup: its id, its hooks, what it listens on
api         the unix socket that `tandem enroll` speaks to

They share the node's addresses: what they listen on is guarded by its port, and led to
by tunnels if bind() showed it to be theirs (``daemon/tunnel/places``). There is no DNS of
the node agent's for them. A member is a workload that the control plane knows: a
WorkloadEntry, or a pod in its host's network namespace.
"""
