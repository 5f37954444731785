"""The one-machine mesh.

mesh       one `tandem up`: a name and address ranges that everything derives from
runner     the parent process: network namespaces, pods, probes, DNS, balancer, ZDS
control    the control plane: YAML in, delta ADS and pods to run out
node       a network namespace with a daemon of its own, and pods routed behind it
fabric     the network that joins nodes, control plane and host
pod        a network namespace and cgroup in which a manifest's command runs
snapshot   what control tells the runner: pods to run, services with endpoints
status     what the runner tells control: a pod's addresses, phase and readiness
epoch      one life of the control process; a new one makes the runner tell all again
"""
