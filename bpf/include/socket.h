/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef TANDEM_SOCKET_H
#define TANDEM_SOCKET_H

#include "net.h"

/* A socket's connection, its own end as the source; key must be zeroed. */
static __always_inline void socket_tuple(struct bpf_sock *sk, struct flow_key *key)
{
	__u32 source4 = sk->src_ip4, destination4 = sk->dst_ip4;
	__u32 s0 = sk->src_ip6[0], s1 = sk->src_ip6[1];
	__u32 s2 = sk->src_ip6[2], s3 = sk->src_ip6[3];
	__u32 d0 = sk->dst_ip6[0], d1 = sk->dst_ip6[1];
	__u32 d2 = sk->dst_ip6[2], d3 = sk->dst_ip6[3];

	if (sk->family == AF_INET) {
		set_ipv4(key->source, source4);
		set_ipv4(key->destination, destination4);
	} else {
		set_ipv6(key->source, s0, s1, s2, s3);
		set_ipv6(key->destination, d0, d1, d2, d3);
	}
	key->source_port = bpf_htons(sk->src_port);
	key->destination_port = sk->dst_port;
}

#endif
