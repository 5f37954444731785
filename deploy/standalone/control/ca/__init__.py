"""The mesh's certificate authority, as istiod is one.

issuer     a root and the intermediate that it signed; a mesh has one, or two
           during a change of the root
leaf       a workload's certificate; chain: leaf, intermediate, and all trusted roots
rotation   the change of the root: publish both, sign with the new, retire the old
server's   what port 15012 shows; signed like a leaf, kept in memory

certificates what is in a certificate, pure · csr what may be signed · rotation the
steps as values, pure · store files · authority the one owner · service gRPC
"""
