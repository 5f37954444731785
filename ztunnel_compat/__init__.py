"""The Istio contract that both engines speak.

identity    a SPIFFE identity as a value
istio_labels  the labels of metrics, which both engines fill in alike
l4, labels  what istio.workload has no field for, as extensions of ours
names       xDS names and the 64-bit hashes of them that the kernel carries
model       frozen domain values: Workload, Service, NetworkAddress …
decode      protobuf → model; a resource that can't be decoded is a Rejection
fields      the parts that decode's resources are made of
state       WorkloadState: the mesh as last pushed, with its indexes
nearness    how near an endpoint is, by a routing preference
policy      authorization policies as values; policy_decode: from protobuf
policy_state  the policies as last pushed, and which apply to a workload
rbac        what policies say of a connection: the reference for both engines
claims      an index whose keys several may want: the last one holds it
dump        the model as JSON, for people
xds         the delta-ADS client as a state machine without I/O
csr         requests for certificates
certificates  what the CA answers, and whom a peer's certificate speaks for
zds         the enrolment protocol's messages as values
hbone       the headers of a tunnel: CONNECT and its answer
proxy_protocol  who called, told to an application by PROXY's version 2
peer        the peer query's answer, as the kernel lays it out

h2/         HTTP/2, client and server
session/    HBONE connections and their pool, whoever carries the bytes
credentials/ certificates of one's own workloads, renewed in time, as TLS contexts
runtime/    what every process needs: logging, tasks, back-off
drivers/    I/O around the above: gRPC streams, unix sockets

Modules beside this file do no I/O: no asyncio, socket, ssl or grpc.
"""
