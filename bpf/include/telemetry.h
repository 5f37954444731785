/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What connections are summed under, and when. Everything is counted here, per CPU,
 * so that user space has no work per connection; the key is in the flow, so that a
 * connection costs one lookup more at either end.
 *
 * A connection within a pod, over loopback, isn't counted: it never leaves the pod.
 */
#ifndef TANDEM_TELEMETRY_H
#define TANDEM_TELEMETRY_H

#include "events.h"
#include "flows.h"

/*
 * A value is one CPU's own, but a program in a process's context may be interrupted
 * on it by another: plain additions would lose one in some hundred thousand.
 */
static __always_inline void add(__u64 *sum, __u64 amount)
{
	if (amount)
		__sync_fetch_and_add(sum, amount);
}

#define TRAFFIC_FLAGS (FLOW_WAYPOINT | FLOW_SERVICE | FLOW_PROBE | FLOW_OUTSIDE)

/*
 * One TCP's own counts have its SYN and FINs in them. state: that it closes from;
 * noted: what was received when it became FIN_WAIT2, from where it may close with the
 * peer's FIN or (its owner gone) without. One byte too few comes out only where a
 * client shuts its sending side, reads some more, and closes before the peer does.
 */
static __always_inline __u64 payload_received(struct bpf_sock_ops *ctx, __u32 state,
					      __u64 noted)
{
	__u64 bytes = ctx->bytes_received;
	int fin = state == BPF_TCP_CLOSE_WAIT || state == BPF_TCP_LAST_ACK ||
		  state == BPF_TCP_CLOSING ||
		  (state == BPF_TCP_FIN_WAIT2 && bytes != noted);

	return bytes ? bytes - fin : 0;
}

static __always_inline __u64 payload_sent(struct bpf_sock_ops *ctx, __u32 state, int syn)
{
	__u64 bytes = ctx->bytes_acked;
	int fin = state == BPF_TCP_FIN_WAIT2 ||
		  ((state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING) &&
		   ctx->snd_una == ctx->snd_nxt);

	return bytes > syn + fin ? bytes - syn - fin : 0;
}

static __always_inline struct traffic *traffic_find(struct traffic_key *key)
{
	struct traffic *found = traffic.lookup(key), *none;
	__u32 only = 0;

	if (found)
		return found;
	none = blank.lookup(&only);
	if (!none)
		return 0;
	/* Another CPU may be first, which is as good. */
	traffic.insert(key, none);
	found = traffic.lookup(key);
	if (found)
		return found;
	count(COUNTER_TRAFFIC_FULL);
	return traffic.lookup((struct traffic_key *)none);
}

static __always_inline struct traffic *traffic_of(const struct flow *flow)
{
	struct traffic_key key = {
		.source = flow->source,
		.target = flow->target,
		.destination = flow->destination,
		.flags = flow->flags & TRAFFIC_FLAGS,
	};

	return traffic_find(&key);
}

/*
 * Whether a connection is of the mesh's traffic at all. What goes to the daemon does by
 * loopback, and what it makes for a client of another node is its to report.
 */
static __always_inline int accounted(const struct flow_key *key, __u32 flags)
{
	return !key->netns && !(flags & FLOW_TUNNELLED);
}

/* sums: the flow's, or NULL. */
static __always_inline void account_established(struct flow *flow, struct traffic *sums)
{
	flow->established = bpf_ktime_get_ns();
	if (!sums)
		return;
	add(&sums->opened, 1);
	add(&sums->latency, flow->established - flow->started);
}

/* Why a connect that isn't a connection yet ends, as far as its socket tells. */
static __always_inline __u32 connect_failure(struct bpf_sock_ops *ctx)
{
	if (ctx->segs_in)
		return REASON_RESET;
	return ctx->total_retrans ? REASON_TIMED_OUT : REASON_ABORTED;
}

static __always_inline void event_counts(struct event *made, struct bpf_sock_ops *ctx,
					 __u64 sent, __u64 received)
{
	made->sent = sent;
	made->received = received;
	made->round_trip = ctx->srtt_us >> 3;
	made->retransmits = ctx->total_retrans;
}

/*
 * An accounted client's socket closes. sums: the flow's, or NULL; state: that it closes
 * from; sent, received: past TCP.
 */
static __always_inline void account_close(struct bpf_sock_ops *ctx,
					  const struct flow_key *key,
					  const struct flow *flow, struct traffic *sums,
					  __u32 state, __u64 sent, __u64 received)
{
	struct event *made;

	if (!flow->established) {
		if (sums) {
			add(&sums->failed, 1);
			add(&sums->retransmits, ctx->total_retrans);
		}
		made = event_begin(EVENT_CLASS_FAILED, EVENT_FAILED,
				   connect_failure(ctx));
		if (!made)
			return;
		event_tuple(made, key);
		event_flow(made, flow);
		event_counts(made, ctx, 0, 0);
		event_end(made);
		return;
	}
	sent += payload_sent(ctx, state, 1);
	received += payload_received(ctx, state, flow->received);
	if (sums) {
		add(&sums->closed, 1);
		add(&sums->sent, sent);
		add(&sums->received, received);
		add(&sums->round_trip, ctx->srtt_us >> 3);
		add(&sums->retransmits, ctx->total_retrans);
	}
	made = event_begin(EVENT_CLASS_CLOSED, EVENT_CLOSED, REASON_NONE);
	if (!made)
		return;
	event_tuple(made, key);
	event_flow(made, flow);
	event_counts(made, ctx, sent, received);
	event_end(made);
}

/* A connect hook sends a pod's connect() nowhere. reason: the COUNTER_REFUSED_*. */
static __always_inline void traffic_refused(const struct pod *pod,
					    const struct endpoint *called, __u64 target,
					    __u32 flags, __u32 reason)
{
	struct traffic_key key = {
		.source = pod->workload,
		.target = target,
		.flags = flags & TRAFFIC_FLAGS,
	};
	struct traffic *sums = traffic_find(&key);
	struct event *made;

	if (sums)
		add(&sums->failed, 1);
	made = event_begin(EVENT_CLASS_FAILED, EVENT_REFUSED,
			   reason == COUNTER_REFUSED_NO_PORT	   ? REASON_NO_PORT
			   : reason == COUNTER_REFUSED_NO_WAYPOINT ? REASON_NO_WAYPOINT
								   : REASON_NO_ENDPOINT);
	if (!made)
		return;
	made->source = pod->workload;
	made->identity = pod->identity;
	made->target = target;
	made->flags = flags;
	copy_address(made->destination_address, called->address);
	copy_address(made->original, called->address);
	made->destination_port = called->port;
	made->original_port = called->port;
	made->started = made->ended;
	event_end(made);
}

/*
 * A connection was refused where it arrived, or (dry) would be. flow: NULL if the
 * kernel saw nobody make it; chunk and rule: what of guard's policy set decided.
 */
static __always_inline void event_denied(const struct flow_key *key,
					 const struct flow *flow,
					 const struct guard *guard, __u32 chunk,
					 __u32 rule, enum verdict verdict)
{
	int dry = verdict >= VERDICT_DRY_DENIED;
	__u32 only = 0;
	struct narrowed *scratch = narrowing.lookup(&only);
	struct event *made;

	if (!dry && scratch) {
		struct traffic_key *where = &scratch->where;
		struct traffic *sums;

		__builtin_memset(where, 0, sizeof(*where));
		where->destination = guard->workload;
		if (flow) {
			where->source = flow->source;
			where->target = flow->target;
			where->flags = flow->flags & TRAFFIC_FLAGS;
		}
		sums = traffic_find(where);
		if (sums)
			add(&sums->denied, 1);
	}
	made = event_begin(EVENT_CLASS_DENIED, dry ? EVENT_DRY_RUN : EVENT_DENIED,
			   verdict);
	if (!made)
		return;
	event_tuple(made, key);
	if (flow)
		event_flow(made, flow);
	else
		made->started = made->ended;
	made->destination = guard->workload;
	made->policy = chunk;
	made->rule = rule;
	event_end(made);
}

static __always_inline __u64 workload_target(__u64 workload, __be16 port)
{
	return workload ^ (bpf_ntohs(port) * PORT_MULTIPLIER);
}

/*
 * Connections that an enrolled pod accepts from elsewhere have no flow, and must
 * have none: it would vouch for them. They are accounted at the accepted socket.
 * key: the client's end as the source. Returns whether this is one: a client of this
 * node's own pods may be gone already, with its flow.
 */
static __always_inline int visit_begin(struct bpf_sock_ops *ctx, const struct pod *pod,
				       const struct flow_key *key)
{
	struct traffic_key where = {
		.target = workload_target(pod->workload, key->destination_port),
		.destination = pod->workload,
	};
	struct bpf_sock *sk = socket_of(ctx);
	struct local_address client;
	struct traffic *sums;
	struct guard *guard;
	struct visit *visit;

	copy_address(client.address, key->source);
	if (!accounted(key, 0) || !sk)
		return 0;
	guard = guards.lookup(&client);
	if (guard && !(guard->flags & GUARD_PARTED))
		return 0;
	visit = visits.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!visit)
		return 0;
	visit->started = bpf_ktime_get_ns();
	sums = traffic_find(&where);
	if (sums)
		add(&sums->opened, 1);
	return 1;
}

static __always_inline struct visit *visit_of(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = socket_of(ctx);

	return sk ? visits.sk_storage_get(sk, 0, 0) : 0;
}

/* The accepted socket of a visit closes. key: the client's end as the source. */
static __always_inline void visit_close(struct bpf_sock_ops *ctx, const struct pod *pod,
					const struct flow_key *key,
					const struct visit *visit, __u32 state)
{
	struct traffic_key where = {
		.target = workload_target(pod->workload, key->destination_port),
		.destination = pod->workload,
	};
	struct traffic *sums = traffic_find(&where);
	__u64 sent = payload_received(ctx, state, visit->received);
	__u64 received = payload_sent(ctx, state, 0);
	struct event *made;

	if (sums) {
		add(&sums->closed, 1);
		add(&sums->sent, sent);
		add(&sums->received, received);
		add(&sums->round_trip, ctx->srtt_us >> 3);
		add(&sums->retransmits, ctx->total_retrans);
	}
	made = event_begin(EVENT_CLASS_CLOSED, EVENT_CLOSED, REASON_NONE);
	if (!made)
		return;
	event_tuple(made, key);
	event_counts(made, ctx, sent, received);
	made->target = where.target;
	made->destination = where.destination;
	made->started = visit->started;
	made->established = visit->started;
	event_end(made);
}

#endif
