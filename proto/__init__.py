"""Istio's wire interfaces, as protobuf messages.

``workload``       istio.workload: Address, Workload, Service (delta xDS)
``authorization``  istio.security: Authorization (delta xDS)
``zds``            istio.workload.zds: enrolment of pods over a unix socket
``ca``             istio.v1.auth: IstioCertificateService

The ``.proto`` files are the source; ``make proto`` regenerates ``*_pb2*``.
Protobuf messages stop at the border: ``ztunnel_compat.decode`` turns them into
frozen values, ``deploy.standalone`` builds them for the wire.
"""
