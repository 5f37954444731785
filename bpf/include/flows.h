/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Flows: their keys, where they are, and who may trust what of them. */
#ifndef TANDEM_FLOWS_H
#define TANDEM_FLOWS_H

#include "balance.h"
#include "counters.h"
#include "maps.h"
#include "net.h"
#include "pending.h"

#define KEY_WORDS (sizeof(struct flow_key) / 8)
#define FLOW_WORDS (sizeof(struct flow) / 8)

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

static __always_inline int same_flow(const struct flow_key *left,
				     const struct flow_key *right)
{
	const word64 *a = (const word64 *)left, *b = (const word64 *)right;
	__u64 differ = 0;

#pragma unroll
	for (int i = 0; i < KEY_WORDS; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

/*
 * A client's next port is mostly the next but one. So its connections to one server go
 * round a few slots, which are in the CPU's caches still.
 */
#define SLOTS_ROUND 128

static __always_inline struct flow_slot *flow_slot(const struct flow_key *key)
{
	__u64 ends = check_words(key->destination_port ^ key->netns, key, 4);
	__u32 next = bpf_ntohs(key->source_port) / 2 % SLOTS_ROUND;
	__u32 index = ((ends >> 40) + next) & (MAX_FLOW_SLOTS - 1);

	return flow_slots.lookup(&index);
}

/* In a check word's low bits; what is above them is flow_check(). */
#define ENDERS 0xffffull

/* Up to when it began: what doesn't change while a flow lives, and is no other's. */
#define CHECKED_WORDS (__builtin_offsetof(struct flow, established) / 8)

static __always_inline __u64 flow_check(const struct flow_key *key,
					const struct flow *flow)
{
	__u64 check = check_words(check_words(0, key, KEY_WORDS), flow, CHECKED_WORDS);

	return (check & ~ENDERS) | (ENDERS + 1);
}

static __always_inline __u64 slot_check(const struct flow_slot *slot)
{
	return *(volatile word64 *)&slot->check & ~ENDERS;
}

static __always_inline int slot_is_of(const struct flow_slot *slot,
				      const struct flow_key *key)
{
	return slot_check(slot) && same_flow(&slot->key, key);
}

/* A connection's flow. It may end meanwhile, and its memory be another's. */
static __always_inline struct flow *flow_find(struct flow_slot *slot,
					      const struct flow_key *key)
{
	if (slot_is_of(slot, key))
		return &slot->flow;
	return slot->overflowed ? flows.lookup((struct flow_key *)key) : 0;
}

/* What may be believed of a connection: its flow, all of it the same one's. */
static __always_inline int flow_copy(struct flow_slot *slot, const struct flow_key *key,
				     struct flow *copy)
{
	struct flow *found;

	if (slot_is_of(slot, key)) {
		copy_words(copy, &slot->flow, FLOW_WORDS);
		return slot_check(slot) == flow_check(key, copy);
	}
	if (!slot->overflowed)
		return 0;
	found = flows.lookup((struct flow_key *)key);
	if (!found)
		return 0;
	copy_words(copy, found, FLOW_WORDS);
	/* Another's memory by now? Each flow has begun at a moment of its own. */
	found = flows.lookup((struct flow_key *)key);
	return found && found->started == copy->started &&
	       found->identity == copy->identity;
}

/*
 * Takes a slot for a flow, unless it is taken. Who left it may be seen to later: so one
 * adds to the check word, and the other takes away.
 */
static __always_inline int slot_take(struct flow_slot *slot, const struct flow_key *key,
				     const struct flow *made)
{
	if (slot->claims || !claim(&slot->claims))
		return 0;
	copy_words(&slot->key, key, KEY_WORDS);
	copy_words(&slot->flow, made, FLOW_WORDS);
	asm volatile("" ::: "memory");
	__sync_fetch_and_add(&slot->check, flow_check(key, made));
	return 1;
}

#define ENDING_TRIES 8

/*
 * Gives a slot back that has this flow. Of several who do so at once one gets it done,
 * or each tries again: the one that finds itself alone, and this flow still there.
 */
static __always_inline void slot_leave(struct flow_slot *slot, const struct flow_key *key)
{
	__u64 check, now;

#pragma clang loop unroll(disable)
	for (int tries = 0; tries < ENDING_TRIES; tries++) {
		check = slot_check(slot);
		if (!check || !same_flow(&slot->key, key))
			return;
		__sync_fetch_and_add(&slot->check, 1);
		asm volatile("" ::: "memory");
		now = *(volatile word64 *)&slot->check;
		if (now == check + 1) {
			__sync_fetch_and_add(&slot->check, -now);
			unclaim(&slot->claims);
			return;
		}
		__sync_fetch_and_add(&slot->check, -1);
	}
}

/* Where no flow of that tuple is. Returns whether there is room. */
static __always_inline int flow_add(struct flow_slot *slot, const struct flow_key *key,
				    const struct flow *made)
{
	if (slot_take(slot, key, made))
		return 1;
	__sync_fetch_and_add(&slot->overflowed, 1);
	if (!flows.insert((struct flow_key *)key, (struct flow *)made))
		return 1;
	__sync_fetch_and_add(&slot->overflowed, -1);
	count(COUNTER_FLOW_TABLE_FULL);
	return 0;
}

/* From both: what user space writes may meet a connection that begins. */
static __always_inline void flow_remove(struct flow_slot *slot,
					const struct flow_key *key)
{
	slot_leave(slot, key);
	if (slot->overflowed && !flows.delete((struct flow_key *)key))
		__sync_fetch_and_add(&slot->overflowed, -1);
}

/* In the place of one that may be there. Returns whether there is room. */
static __always_inline int flow_put(struct flow_slot *slot, const struct flow_key *key,
				    const struct flow *made)
{
	flow_remove(slot, key);
	return flow_add(slot, key, made);
}

/* The only way by which a flow ends; flow: as it was found. */
static __always_inline void flow_close(struct flow_slot *slot, const struct flow_key *key,
				       const struct flow *flow)
{
	flow_uncount(key, flow);
	if (flow->flags & FLOW_ACCELERATE) {
		struct flow_key pair = *key;

		order_pair(&pair);
		accelerated.delete(&pair);
	}
	flow_remove(slot, key);
}

/*
 * A new connection has the tuple of a flow whose end was missed, so that one makes
 * room. Unless it is another pod's that is still here: it may be open, and its tuple is
 * its own address; whoever else has it is nobody. Returns whether there is room.
 */
static __always_inline int flow_displace(struct flow_slot *slot,
					 const struct flow_key *key, __u64 netns)
{
	struct flow *stale = flow_find(slot, key);
	__u64 owner;

	if (!stale)
		return 1;
	owner = stale->netns;
	if (owner != netns && pods.lookup(&owner)) {
		count(COUNTER_FLOW_IN_THE_WAY);
		return 0;
	}
	flow_close(slot, key, stale);
	return !flow_find(slot, key);
}

/* Returns whether the flow is there now. */
static __always_inline int flow_insert(const struct flow_key *key,
				       const struct flow *made)
{
	struct flow_slot *slot = flow_slot(key);

	return slot && flow_displace(slot, key, made->netns) && flow_add(slot, key, made);
}

/* What the daemon said of a socket, of whose connect() no hook left anything. */
static __always_inline struct mark *mark_of(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = socket_of(ctx);

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
