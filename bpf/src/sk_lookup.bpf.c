/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * sk_lookup: may this SYN arrive? In each enrolled pod's network namespace the
 * local address says who is called; in the node's own, where processes are enrolled
 * by cgroup and share its address, the local port does.
 *
 * Only what this node's kernel saw a pod be redirected to its waypoint may reach
 * an identity port: there, the peer query is believed. A SYN from a raw socket has
 * no flow. With SYN cookies this runs for the final ACK too, and the client's
 * socket, hence its flow, is there still. It runs for any packet that no connection
 * wants, so the counters may include a straggler of one that ended.
 *
 * Loopback passes, and so does HBONE, which the daemon answers: it asks the policies
 * itself, with the identity that the client's certificate proves. UDP passes too,
 * counted where there are policies that it evades.
 */
#include "../include/authz.h"

static __always_inline void lookup_tuple(struct bpf_sk_lookup *ctx, struct flow_key *key)
{
	if (ctx->family == AF_INET) {
		set_ipv4(key->source, ctx->remote_ip4);
		set_ipv4(key->destination, ctx->local_ip4);
	} else {
		set_ipv6(key->source, ctx->remote_ip6[0], ctx->remote_ip6[1],
			 ctx->remote_ip6[2], ctx->remote_ip6[3]);
		set_ipv6(key->destination, ctx->local_ip6[0], ctx->local_ip6[1],
			 ctx->local_ip6[2], ctx->local_ip6[3]);
	}
	key->source_port = ctx->remote_port;
	key->destination_port = bpf_htons(ctx->local_port);
}

#define GUARD_TRIES 3

static __always_inline void guard_copy(struct guard *to, const struct guard *from)
{
	((word64 *)to)[0] = ((volatile const word64 *)from)[0];
	((word64 *)to)[1] = ((volatile const word64 *)from)[1];
}

static __always_inline int same_guard(const struct guard *left, const struct guard *right)
{
	return ((const word64 *)left)[0] == ((const word64 *)right)[0] &&
	       ((const word64 *)left)[1] == ((const word64 *)right)[1];
}

/*
 * Copy the guard of an address or port, and return whether there is one. The memory
 * of an entry that is replaced may at once be another's: a copy counts only if the
 * entry is the same afterwards. One that keeps changing is a guard that refuses.
 */
static __always_inline int guard_of_address(const __u8 *address, struct guard *copy)
{
	struct local_address where;

	copy_address(where.address, address);
#pragma unroll
	for (int tries = 0; tries < GUARD_TRIES; tries++) {
		struct guard *guard = guards.lookup(&where);

		if (!guard)
			return 0;
		guard_copy(copy, guard);
		guard = guards.lookup(&where);
		if (guard && same_guard(guard, copy))
			return 1;
	}
	copy->flags = GUARD_REFUSE;
	return 1;
}

static __always_inline int guard_of_port(__be16 port, struct guard *copy)
{
	struct listener where = {.port = port};
	__u64 *bound = listeners.lookup(&where), workload;

	if (!bound)
		return 0;
	workload = *bound;
#pragma unroll
	for (int tries = 0; tries < GUARD_TRIES; tries++) {
		struct guard *guard = member_guards.lookup(&workload);

		if (!guard)
			break;
		guard_copy(copy, guard);
		guard = member_guards.lookup(&workload);
		if (guard && same_guard(guard, copy))
			return 1;
	}
	copy->workload = workload;
	copy->flags = GUARD_REFUSE;
	return 1;
}

static __always_inline int lookup_decide(struct bpf_sk_lookup *ctx, struct flow_key *key,
					 const struct guard *guard)
{
	if (ctx->protocol == TRANSPORT_TCP)
		return may_arrive(key, guard) ? SK_PASS : SK_DROP;
	if (ctx->protocol == TRANSPORT_UDP && (guard->policy || guard->flags))
		count(COUNTER_UDP_UNAUTHORIZED);
	return SK_PASS;
}

int sk_lookup(struct bpf_sk_lookup *ctx)
{
	struct flow_key key = {};
	struct guard guard = {};

	lookup_tuple(ctx, &key);
	if (is_loopback(key.destination))
		return SK_PASS;
	if (key.destination_port == bpf_htons(TUNNEL_PORT_HBONE) &&
	    ctx->protocol == TRANSPORT_TCP)
		return SK_PASS;
	if (!guard_of_address(key.destination, &guard)) {
		/* Its addresses aren't known yet, hence not who is called. */
		if (ctx->protocol != TRANSPORT_TCP)
			return SK_PASS;
		guard.flags = GUARD_REFUSE;
	}
	return lookup_decide(ctx, &key, &guard);
}

int sk_lookup_host(struct bpf_sk_lookup *ctx)
{
	struct flow_key key = {};
	struct guard guard = {};

	lookup_tuple(ctx, &key);
	if (is_loopback(key.destination) || !guard_of_port(key.destination_port, &guard))
		return SK_PASS;
	return lookup_decide(ctx, &key, &guard);
}
