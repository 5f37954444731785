"""Authorization on this node: from policies to what the kernel holds.

policy set   the policies of a workload; workloads with equal ones share it
rule         a conjunction of matches: one bit of a set; several make a policy
identity     who a pod is (identities); in the kernel its 64-bit hash
chunk        1,024 rules of a set, under a number (bpf/include/abi.h)
guard        what stands at a local address: its workload and its set's first chunk
standing     what a workload's guards say now, and why
parted       of a pod that left the mesh and goes on: kept for its return

``compile`` and ``vectors`` make rules of policies, ``choice`` says which set a
workload gets, ``tables`` writes sets, ``sets`` knows which there are, ``guards`` those,
``enrolled`` who is here; ``keeper`` brings them together. ``totals`` counts what was
denied, ``enforce`` closes connections by ``daemon.sock_diag``.
"""
