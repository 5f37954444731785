/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* sockops: flows made, handed to accepted sockets, and removed. */
#include "../include/flows.h"

/* The connection of a socket, its own end as the source; key must be zeroed. */
static __always_inline void sockops_tuple(struct bpf_sock_ops *ctx, struct flow_key *key)
{
	__u32 source4 = loaded(ctx->local_ip4), destination4 = loaded(ctx->remote_ip4);
	__u32 s0 = loaded(ctx->local_ip6[0]), s1 = loaded(ctx->local_ip6[1]);
	__u32 s2 = loaded(ctx->local_ip6[2]), s3 = loaded(ctx->local_ip6[3]);
	__u32 d0 = loaded(ctx->remote_ip6[0]), d1 = loaded(ctx->remote_ip6[1]);
	__u32 d2 = loaded(ctx->remote_ip6[2]), d3 = loaded(ctx->remote_ip6[3]);
	__u32 source_port = loaded(ctx->local_port);
	__u32 destination_port = loaded(ctx->remote_port);

	if (ctx->family == AF_INET) {
		set_ipv4(key->source, source4);
		set_ipv4(key->destination, destination4);
	} else {
		set_ipv6(key->source, s0, s1, s2, s3);
		set_ipv6(key->destination, d0, d1, d2, d3);
	}
	key->source_port = bpf_htons(source_port);
	key->destination_port = bpf_htons(bpf_ntohl(destination_port));
	flow_scope(key, ctx);
}

static __always_inline void on_connect(struct bpf_sock_ops *ctx)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct pod *pod = pods.lookup(&netns);
	struct flow_key key = {};

	if (!pod)
		return;
	sockops_tuple(ctx, &key);
	if (flow_open(&key, pod, bpf_get_socket_cookie(ctx)))
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
						       BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* A waypoint asks after a client may have gone: its answer moves to the socket. */
static __always_inline void on_accept(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct flow_key key = {};
	struct flow *flow;

	sockops_tuple(ctx, &key);
	flow_reverse(&key);
	flow = flows.lookup(&key);
	if (flow && (flow->flags & FLOW_WAYPOINT) && sk)
		answers.sk_storage_get(sk, flow, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline void on_state(struct bpf_sock_ops *ctx)
{
	struct flow_key key = {};

	if (ctx->args[1] != BPF_TCP_CLOSE)
		return;
	sockops_tuple(ctx, &key);
	flows.delete(&key);
}

int sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		on_connect(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		on_accept(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		on_state(ctx);
		break;
	}
	return 1;
}
