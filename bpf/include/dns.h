/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What pods ask of the cluster's DNS, the daemon answers: on the loopback address of
 * the pod's own network namespace. Whether a socket listens there is seen for each
 * question: without one, the nameserver is an address as any, so that a daemon that
 * died breaks no resolution. A socket that is bound to a device can't reach loopback
 * and goes to the nameserver, too.
 */
#ifndef TANDEM_DNS_H
#define TANDEM_DNS_H

#include "maps.h"
#include "net.h"

/* From port 0 nobody is connected: what is found is one that listens. */
static __always_inline int dns_listens(struct bpf_sock_addr *ctx, const __u8 *address,
				       __u8 family)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	__u32 size;

	if (family == FAMILY_IPV4) {
		tuple.ipv4.daddr = get_ipv4(address);
		tuple.ipv4.dport = bpf_htons(DNS_PORT_LOCAL);
		size = sizeof(tuple.ipv4);
	} else {
		copy_words(tuple.ipv6.daddr, address, 2);
		tuple.ipv6.dport = bpf_htons(DNS_PORT_LOCAL);
		size = sizeof(tuple.ipv6);
	}
	if (is_udp(ctx))
		sk = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/* Whether a question goes to the daemon: then `to` says where. */
static __always_inline int dns_redirect(struct bpf_sock_addr *ctx,
					const struct endpoint *called, __u8 family,
					struct endpoint *to)
{
	struct bpf_sock *sk = ctx->sk;
	struct local_address where;
	struct endpoint local = {};

	if (blurred(ctx, called->port) != bpf_htons(DNS_PORT_ASKED))
		return 0;
	copy_address(where.address, called->address);
	if (!nameservers.lookup(&where) || (sk && sk->bound_dev_if))
		return 0;
	if (family == FAMILY_IPV4)
		set_ipv4(local.address, bpf_htonl(0x7f000001));
	else
		set_ipv6(local.address, 0, 0, 0, bpf_htonl(1));
	local.port = bpf_htons(DNS_PORT_LOCAL);
	if (!dns_listens(ctx, local.address, family))
		return 0;
	copy_place(to, &local);
	return 1;
}

#endif
