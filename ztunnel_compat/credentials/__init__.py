"""Certificates of one's own workloads: one per service account, kept in memory.

credentials  what tunnels need of it
contexts     a certificate as TLS contexts, whose key touches no disk
holder       who needs a certificate, renewal, and what there is right now
families     the same for Prometheus
secrecy      no core dump of a process that has keys

held         an identity is held for as long as a pod of ours has it
renewal      at half of a certificate's life; the old one is used until it ends
"""
