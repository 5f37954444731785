"""The Istio contract that both engines speak.

identity    a SPIFFE identity as a value
names       xDS names and the 64-bit hashes of them that the kernel carries
model       frozen domain values: Workload, Service, NetworkAddress …
decode      protobuf → model; a resource that can't be decoded is a Rejection
fields      the parts that decode's resources are made of
state       WorkloadState: the mesh as last pushed, with its indexes
claims      an index whose keys several may want: the last one holds it
dump        the model as JSON, for people
xds         the delta-ADS client as a state machine without I/O
zds         the enrolment protocol's messages as values
peer        the peer query's answer, as the kernel lays it out

runtime/    what every process needs: logging, tasks, back-off
drivers/    I/O around the above: gRPC streams, unix sockets

Modules beside this file do no I/O: no asyncio, socket, ssl or grpc.
"""
