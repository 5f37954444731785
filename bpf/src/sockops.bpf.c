/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* sockops: flows made, handed to accepted sockets, accounted and removed. */
#include "../include/accelerate.h"
#include "../include/caller.h"
#include "../include/sockops.h"
#include "../include/telemetry.h"

static __always_inline void watch_states(struct bpf_sock_ops *ctx)
{
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
					       BPF_SOCK_OPS_STATE_CB_FLAG);
}

/*
 * A client's SYN is about to leave. Where cgroups are enrolled, the daemon connects to
 * their processes in a namespace that is no pod's: for whom says its socket's mark.
 */
static __always_inline void on_connect(struct bpf_sock_ops *ctx,
				       const struct flow_key *key, __u64 netns)
{
	struct pod *pod = caller_of_syn(ctx, netns), nobody = {};

	if (!pod && enrolled_levels() && mark_of(ctx))
		pod = &nobody;
	if (pod && flow_open(ctx, key, pod, netns))
		watch_states(ctx);
}

/* Whether a socket is one that watch_states() was called for. */
static __always_inline int watched(struct bpf_sock_ops *ctx)
{
	return ctx->bpf_sock_ops_cb_flags & BPF_SOCK_OPS_STATE_CB_FLAG;
}

#define ASKED_FLOWS (FLOW_WAYPOINT | FLOW_TUNNEL | FLOW_TUNNELLED)

/*
 * A waypoint or the daemon asks after a client may have gone, and getpeername() is
 * asked at any time: the answer moves to the socket. key: the client's end as the
 * source, and flow what is known of it.
 */
static __always_inline void on_accept(struct bpf_sock_ops *ctx, struct flow_slot *slot,
				      const struct flow_key *key, struct flow *flow,
				      __u64 netns)
{
	struct bpf_sock *sk = socket_of(ctx);
	struct flow copy;
	struct pod *pod;

	if (!flow) {
		pod = pods.lookup(&netns);
		/* The daemon reports what comes by HBONE. */
		if (key->destination_port == bpf_htons(TUNNEL_PORT_HBONE))
			return;
		if (pod && visit_begin(ctx, pod, key))
			watch_states(ctx);
		return;
	}
	if ((flow->flags & ASKED_FLOWS) && sk && flow_copy(slot, key, &copy))
		answers.sk_storage_get(sk, (struct peer *)&copy,
				       BPF_SK_STORAGE_GET_F_CREATE);
	if (flow->flags & FLOW_ACCELERATE)
		accelerate_server(ctx, key);
}

/* A pod that left the mesh takes its visits' labels with it. */
static __always_inline void on_visit_state(struct bpf_sock_ops *ctx, struct flow_key *key,
					   __u64 netns, __u32 from, __u32 to)
{
	struct visit *visit = visit_of(ctx);
	struct pod *pod;

	if (!visit)
		return;
	if (to == BPF_TCP_FIN_WAIT2) {
		visit->received = ctx->bytes_received;
		return;
	}
	pod = pods.lookup(&netns);
	if (to != BPF_TCP_CLOSE || !pod)
		return;
	flow_reverse(key);
	visit_close(ctx, pod, key, visit, from);
}

/* The socket of a flow is connected (ACTIVE_ESTABLISHED) or in another state. */
static __always_inline void on_flow(struct bpf_sock_ops *ctx, struct flow_slot *slot,
				    const struct flow_key *key, struct flow *flow,
				    __u32 op, __u32 from, __u32 to)
{
	__u64 sent = 0, received = 0;
	int counts = accounted(key, flow->flags);
	struct traffic *sums;

	if (op == BPF_SOCK_OPS_STATE_CB && to == BPF_TCP_FIN_WAIT2) {
		flow->received = ctx->bytes_received;
		return;
	}
	sums = counts ? traffic_of(flow) : 0;
	if (op == BPF_SOCK_OPS_STATE_CB && to == BPF_TCP_CLOSE) {
		if (flow->flags & FLOW_ACCELERATE)
			accelerate_sums(key, &sent, &received);
		if (counts)
			account_close(ctx, key, flow, sums, from, sent, received);
		flow_close(slot, key, flow);
		return;
	}
	account_established(flow, sums);
	if (op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && (flow->flags & FLOW_ACCELERATE))
		accelerate_client(ctx, key);
}

/*
 * Whether there is anything to do. Most calls are about what concerns nobody here, and
 * cost no more than this.
 *
 * Of who is established ACTIVE_ESTABLISHED tells, unless both ends called at once: then
 * it is so by way of SYN_RECV, as at a server.
 */
static __always_inline int concerns(struct bpf_sock_ops *ctx, __u32 op, __u32 from,
				    __u32 to)
{
	switch (op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		return 1;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		return watched(ctx);
	case BPF_SOCK_OPS_STATE_CB:
		return to == BPF_TCP_CLOSE || to == BPF_TCP_FIN_WAIT2 ||
		       (to == BPF_TCP_ESTABLISHED && from == BPF_TCP_SYN_RECV);
	default:
		return 0;
	}
}

/*
 * What several of a connection's moments need is here once: a program that runs a
 * dozen times for each connection, between much else, finds little of itself in the
 * CPU's caches.
 */
int sockops(struct bpf_sock_ops *ctx)
{
	__u32 op = ctx->op, from = ctx->args[0], to = ctx->args[1];
	struct flow_key key = {};
	struct flow_slot *slot;
	struct flow *flow;
	__u64 netns;

	if (!concerns(ctx, op, from, to))
		return 1;
	netns = bpf_get_netns_cookie(ctx);
	sockops_tuple(ctx, &key, netns);
	if (op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		on_connect(ctx, &key, netns);
		return 1;
	}
	if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		flow_reverse(&key);
	slot = flow_slot(&key);
	if (!slot)
		return 1;
	flow = flow_find(slot, &key);
	/*
	 * Another namespace's flow isn't this socket's to end. Nor are probes', which
	 * are of none: where they are made below this cgroup, their own program does.
	 */
	if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		on_accept(ctx, slot, &key, flow, netns);
	else if (flow && flow->netns == netns)
		on_flow(ctx, slot, &key, flow, op, from, to);
	else if (op == BPF_SOCK_OPS_STATE_CB)
		on_visit_state(ctx, &key, netns, from, to);
	return 1;
}
