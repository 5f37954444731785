/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The flow map: its keys, and who may trust what of it. */
#ifndef TANDEM_FLOWS_H
#define TANDEM_FLOWS_H

#include "balance.h"
#include "counters.h"
#include "maps.h"
#include "net.h"
#include "pending.h"

/*
 * Two network namespaces may hold the same loopback tuple, and two links the same of
 * link-local addresses, never the same routed one. So these are known by the namespace
 * where the connection is seen, too: a link-local flow is its own end's alone.
 */
static __always_inline int flow_is_scoped(const struct flow_key *key)
{
	return is_loopback(key->destination) || is_loopback(key->source) ||
	       is_link_local(key->destination);
}

/* ctx: the hook's, which knows the namespace. */
static __always_inline void flow_scope(struct flow_key *key, void *ctx)
{
	key->pad = 0;
	key->netns = flow_is_scoped(key) ? bpf_get_netns_cookie(ctx) : 0;
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

/* Names the connection by its lower end first. Returns which end was the source. */
static __always_inline __u64 order_pair(struct flow_key *pair)
{
	const word64 *own = (const word64 *)pair->source;
	const word64 *other = (const word64 *)pair->destination;
	int higher = own[0] != other[0]	  ? own[0] > other[0]
		     : own[1] != other[1] ? own[1] > other[1]
					  : pair->source_port > pair->destination_port;

	if (!higher)
		return 0;
	flow_reverse(pair);
	return 1;
}

/* A byte, so that writers of different ones don't meet. */
static __always_inline __u8 *translated_place(__be16 port)
{
	__u32 group = bpf_ntohs(port) / TRANSLATED_PORTS, word = group / 8;
	__u64 *bytes = translated.lookup(&word);

	return bytes ? (__u8 *)bytes + group % 8 : 0;
}

static __always_inline void translated_note(const struct flow_key *key,
					    const struct flow *flow)
{
	__u8 *noted;

	if (flow->original_port == key->destination_port &&
	    same_address(flow->original, key->destination))
		return;
	noted = translated_place(key->source_port);
	if (noted && !*noted)
		*noted = 1;
}

static __always_inline int is_translated(const struct flow_key *key)
{
	__u8 *noted = translated_place(key->source_port);

	return noted && *noted;
}

/* Where a connection is counted, if it is: at its endpoint. */
static __always_inline void flow_uncount(const struct flow_key *key,
					 const struct flow *flow)
{
	if (!(flow->flags & FLOW_COUNTED))
		return;
	if (flow->flags & FLOW_TUNNEL)
		active_close(flow->far, flow->far_port);
	else
		active_close(key->destination, key->destination_port);
}

/* The only way by which the kernel's side ends a flow; flow: as it was looked up. */
static __always_inline void flow_close(const struct flow_key *key,
				       const struct flow *flow)
{
	flow_uncount(key, flow);
	if (flow->flags & FLOW_ACCELERATE) {
		struct flow_key pair = *key;

		order_pair(&pair);
		accelerated.delete(&pair);
	}
	flows.delete((struct flow_key *)key);
}

/*
 * A new connection has the tuple of a flow whose end was missed, so that one makes
 * room. Unless it is another pod's that is still here: it may be open, and its tuple is
 * its own address; whoever else has it is nobody. Returns whether there is room.
 */
static __always_inline int flow_displace(const struct flow_key *key, __u64 netns)
{
	struct flow *stale = flows.lookup((struct flow_key *)key);
	__u64 owner;

	if (!stale)
		return 1;
	owner = stale->netns;
	if (owner != netns && pods.lookup(&owner)) {
		count(COUNTER_FLOW_IN_THE_WAY);
		return 0;
	}
	flow_close(key, stale);
	return 1;
}

/* Returns whether the flow is there now. */
static __always_inline int flow_insert(const struct flow_key *key,
				       const struct flow *made)
{
	if (!flows.insert((struct flow_key *)key, (struct flow *)made))
		return 1;
	/* One is in the way, or there is no room. */
	if (!flow_displace(key, made->netns))
		return 0;
	if (!flows.insert((struct flow_key *)key, (struct flow *)made))
		return 1;
	count(COUNTER_FLOW_TABLE_FULL);
	return 0;
}

/* What the daemon said of a socket, of whose connect() no hook left anything. */
static __always_inline struct mark *mark_of(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? marks.sk_storage_get(sk, 0, 0) : 0;
}

/* The daemon's own socket connects for a client that it let in. */
static __always_inline void flow_of_mark(struct flow *made, const struct mark *mark)
{
	made->source = mark->source;
	made->target = mark->target;
	copy_address(made->original, mark->original);
	made->original_port = mark->original_port;
	made->flags = mark->flags & (FLOW_TUNNELLED | FLOW_SERVICE | FLOW_WAYPOINT);
	made->destination = mark->destination;
	copy_address(made->far, mark->far);
	made->far_port = mark->far_port;
	made->identity = mark->identity;
}

/*
 * A pod's socket is about to send its SYN. The source is the pod's own entry, read
 * here, and only the target is from the hand-over: nothing that another socket does
 * can lend it an identity. Where the hand-over was lost, the flow says who, not what
 * for: a waypoint refuses it, and so does the daemon. Returns whether there is a
 * flow now. Without one, whoever needs proof of the connection refuses it.
 */
static __always_inline int flow_open(struct bpf_sock_ops *ctx, const struct flow_key *key,
				     const struct pod *pod, __u64 netns)
{
	struct pending taken;
	struct flow made = {};
	struct mark *mark;

	/* Port 0 is where refused connects are sent. */
	if (key->destination_port == 0)
		return 0;
	made.source = pod->workload;
	made.identity = pod->identity;
	made.netns = netns;
	made.started = bpf_ktime_get_ns();
	if (pending_take(bpf_get_socket_cookie(ctx), key, &taken)) {
		made.target = taken.target;
		made.destination = taken.destination_name;
		copy_address(made.original, taken.original);
		made.original_port = taken.original_port;
		made.flags = taken.flags;
		if (!(pod->flags & POD_ACCELERATE))
			made.flags &= ~FLOW_ACCELERATE;
		if (made.flags & FLOW_TUNNEL) {
			copy_address(made.far, taken.destination);
			made.far_port = taken.destination_port;
		}
		if (made.flags & FLOW_COUNTED &&
		    !active_open(taken.destination, taken.destination_port))
			made.flags &= ~FLOW_COUNTED;
	} else if ((mark = mark_of(ctx))) {
		if (!(mark->flags & FLOW_TUNNELLED))
			return 0;
		flow_of_mark(&made, mark);
	} else {
		copy_address(made.original, key->destination);
		made.original_port = key->destination_port;
		count(COUNTER_PENDING_LOST);
	}
	translated_note(key, &made);
	if (flow_insert(key, &made))
		return 1;
	flow_uncount(key, &made);
	return 0;
}

#endif
