"""Asks port 15012 for a certificate and for the mesh; prints what it says, as JSON.

ask_port15012.py ADDRESS:PORT ROOTS TOKEN NODE_ID [IDENTITY]
"""

import json
import sys
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from proto import ca_pb2, ca_pb2_grpc

target, roots, token, node_id, *identity = sys.argv[1:]
metadata = [("authorization", f"Bearer {Path(token).read_text()}")]
key = ec.generate_private_key(ec.SECP256R1())
builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
csr = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
said: dict[str, list[str]] = {}
with grpc.secure_channel(
    target, grpc.ssl_channel_credentials(Path(roots).read_bytes())
) as channel:
    request = ca_pb2.IstioCertificateRequest(csr=csr)
    if identity:
        request.metadata.update({"ImpersonatedIdentity": identity[0]})
    try:
        answer = ca_pb2_grpc.IstioCertificateServiceStub(channel).CreateCertificate(
            request, timeout=20, metadata=metadata
        )
        leaf = x509.load_pem_x509_certificate(answer.cert_chain[0].encode())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        said["ca"] = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    except grpc.RpcError as error:
        said["ca"] = [error.code().name, str(error.details())]
    asked = DeltaDiscoveryRequest(type_url="type.googleapis.com/istio.workload.Address")
    asked.node.id = node_id
    stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
    try:
        response = next(
            stub.DeltaAggregatedResources(iter([asked]), timeout=20, metadata=metadata)
        )
        said["ads"] = sorted(resource.name for resource in response.resources)
    except grpc.RpcError as error:
        said["ads"] = [error.code().name, str(error.details())]
print(json.dumps(said))
