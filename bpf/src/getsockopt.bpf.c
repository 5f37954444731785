/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* cgroup/getsockopt: the peer query, "who made this connection, and what for?" */
#include "../include/flows.h"
#include "../include/socket.h"

/* A waypoint's socket carries its answer; any other server is told from the flow. */
static __always_inline int peer_of_server(struct bpf_sockopt *ctx, struct flow *told)
{
	struct bpf_sock *sk = ctx->sk;
	struct flow_key key = {};
	struct flow_slot *slot;
	struct peer *answer;

	if (!sk || !is_stream(sk->protocol))
		return 0;
	answer = answers.sk_storage_get(sk, 0, 0);
	if (answer) {
		copy_words(told, answer, sizeof(*answer) / 8);
		return 1;
	}
	socket_tuple(sk, &key);
	flow_reverse(&key);
	flow_scope(&key, ctx);
	slot = flow_slot(&key);
	return slot && flow_copy(slot, &key, told);
}

int getsockopt(struct bpf_sockopt *ctx)
{
	struct peer *answer = ctx->optval;
	struct flow told;

	if (ctx->level != PEER_QUERY_LEVEL || ctx->optname != PEER_QUERY_OPTION) {
		/*
		 * The hook sees a page at most. Of a longer value the kernel's own
		 * answer must stand, which length 0 says; else it would be EFAULT.
		 */
		if (ctx->optlen > (__s64)(ctx->optval_end - ctx->optval))
			ctx->optlen = 0;
		return 1;
	}
	if ((void *)(answer + 1) > ctx->optval_end)
		return 1;
	if (!peer_of_server(ctx, &told))
		return 1;
	*answer = *(struct peer *)&told;
	ctx->optlen = sizeof(*answer);
	/* The verifier wants the answer's length settled before its success. */
	asm volatile("" ::: "memory");
	ctx->retval = 0;
	return 1;
}
