"""Authorization on this node: from policies to what the kernel holds.

policy set   the policies of a workload; workloads with equal ones share it
rule         a conjunction of matches: one bit of a set; several make a policy
chunk        1,024 rules of a set, under a number (bpf/include/abi.h)
guard        what stands at a local address: its workload and its set's first chunk
standing     what a workload's guards say now, and why

``compile`` and ``vectors`` make rules of policies, ``choice`` says which set a
workload gets, ``tables`` writes sets, ``keeper`` owns all of it, ``totals`` counts
what was denied, ``enforce`` closes connections by ``daemon.sock_diag``.
"""
