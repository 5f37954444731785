"""I/O around the contract's state machines.

mesh_client  keeps a WorkloadState fed from the control plane, for ever
login        TLS and a token, for all that is asked of the control plane
ca_client    certificates, asked of the control plane
ads_stream   one delta-ADS stream over gRPC; protobuf ↔ xds values
seqpacket    a SOCK_SEQPACKET unix socket with file descriptors, non-blocking
zds_client   enrolment, the node agent's side
zds_server   enrolment, the side that knows the pods (istio-cni's)
"""
