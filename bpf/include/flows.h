/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The flow map: its keys, and who may trust what of it. */
#ifndef TANDEM_FLOWS_H
#define TANDEM_FLOWS_H

#include "counters.h"
#include "maps.h"
#include "net.h"
#include "pending.h"

/*
 * Two network namespaces may hold the same loopback tuple, never the same routed
 * one. ctx: the hook's, which knows the namespace where the connection is seen.
 */
static __always_inline void flow_scope(struct flow_key *key, void *ctx)
{
	key->pad = 0;
	key->netns = 0;
	if (is_loopback(key->destination) || is_loopback(key->source))
		key->netns = bpf_get_netns_cookie(ctx);
}

/* The same connection as its other end names it. */
static __always_inline void flow_reverse(struct flow_key *key)
{
	struct flow_key other;

	copy_address(other.source, key->destination);
	copy_address(other.destination, key->source);
	copy_address(key->source, other.source);
	copy_address(key->destination, other.destination);
	other.source_port = key->destination_port;
	key->destination_port = key->source_port;
	key->source_port = other.source_port;
}

/*
 * A pod's socket is about to send its SYN. The source is the pod's own entry, read
 * here, and only the target is from the hand-over: nothing that another socket does
 * can lend it an identity. Returns whether there is a flow now. Without one, whoever
 * needs proof of the connection refuses it.
 */
static __always_inline int flow_open(const struct flow_key *key, const struct pod *pod,
				     __u64 cookie)
{
	struct pending taken;
	struct flow made = {};

	/* Port 0 is where refused connects are sent. */
	if (key->destination_port == 0)
		return 0;
	if (!pending_take(cookie, key, &taken)) {
		struct address_key where;

		copy_address(where.address, key->destination);
		if (addresses.lookup(&where))
			count(COUNTER_PENDING_LOST);
		return 0;
	}
	made.source = pod->workload;
	made.target = taken.target;
	copy_address(made.original, taken.original);
	made.original_port = taken.original_port;
	made.flags = taken.flags;
	if (flows.update((struct flow_key *)key, &made)) {
		count(COUNTER_FLOW_TABLE_FULL);
		return 0;
	}
	return 1;
}

/* Whether a connection may arrive at a waypoint's identity port. */
static __always_inline int flow_proven(struct flow_key *key)
{
	struct flow *flow = flows.lookup(key);

	return flow && (flow->flags & FLOW_WAYPOINT);
}

#endif
