/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* cgroup/getpeername4 and 6: a client sees the address that it asked for. */
#include "../include/flows.h"
#include "../include/socket.h"

static __always_inline struct flow *flow_of_client(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct flow_key key = {};

	if (ctx->protocol != TRANSPORT_TCP || !sk)
		return 0;
	socket_tuple(sk, &key);
	flow_scope(&key, ctx);
	return flows.lookup(&key);
}

int getpeername4(struct bpf_sock_addr *ctx)
{
	struct flow *flow = flow_of_client(ctx);

	if (flow) {
		ctx->user_ip4 = get_ipv4(flow->original);
		ctx->user_port = flow->original_port;
	}
	return 1;
}

int getpeername6(struct bpf_sock_addr *ctx)
{
	struct flow *flow = flow_of_client(ctx);

	if (flow) {
		ctx->user_ip6[0] = ((word32 *)flow->original)[0];
		ctx->user_ip6[1] = ((word32 *)flow->original)[1];
		ctx->user_ip6[2] = ((word32 *)flow->original)[2];
		ctx->user_ip6[3] = ((word32 *)flow->original)[3];
		ctx->user_port = flow->original_port;
	}
	return 1;
}
