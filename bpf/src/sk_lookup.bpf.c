/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* sk_lookup, in each enrolled pod's network namespace: may this SYN arrive? */
#include "../include/flows.h"

/*
 * Only what this node's kernel saw a pod be redirected to its waypoint may reach
 * an identity port: there, the peer query is believed. A SYN from a raw socket has
 * no flow. With SYN cookies this runs for the final ACK too, and the client's
 * socket, hence its flow, is there still. It runs for any packet that no connection
 * wants, so the counter may include a straggler of one that ended.
 */
static __always_inline int may_arrive(struct flow_key *key)
{
	struct address_key where;
	struct address *address;

	if (is_loopback(key->destination))
		return 1;
	copy_address(where.address, key->destination);
	address = addresses.lookup(&where);
	if (!address || !address->identity_port ||
	    address->identity_port != key->destination_port)
		return 1;
	if (flow_proven(key))
		return 1;
	count(COUNTER_REFUSED_UNPROVEN);
	return 0;
}

int sk_lookup(struct bpf_sk_lookup *ctx)
{
	struct flow_key key = {};

	if (ctx->protocol != TRANSPORT_TCP)
		return SK_PASS;
	if (ctx->family == AF_INET) {
		set_ipv4(key.source, ctx->remote_ip4);
		set_ipv4(key.destination, ctx->local_ip4);
	} else {
		set_ipv6(key.source, ctx->remote_ip6[0], ctx->remote_ip6[1],
			 ctx->remote_ip6[2], ctx->remote_ip6[3]);
		set_ipv6(key.destination, ctx->local_ip6[0], ctx->local_ip6[1],
			 ctx->local_ip6[2], ctx->local_ip6[3]);
	}
	key.source_port = ctx->remote_port;
	key.destination_port = bpf_htons(ctx->local_port);
	return may_arrive(&key) ? SK_PASS : SK_DROP;
}
