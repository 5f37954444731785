/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * cgroup/getpeername4 and 6: a client sees the address that it asked for, and a server
 * that is reached through a tunnel the client at its other end. accept() tells the same.
 */
#include "../include/flows.h"
#include "../include/socket.h"
#include "../include/udp.h"

static __always_inline int asked_by_tcp(struct bpf_sock_addr *ctx, struct endpoint *peer)
{
	struct bpf_sock *sk = ctx->sk;
	struct flow_key key = {};
	struct flow_slot *slot;
	struct peer *answer;
	struct flow *flow;

	if (!sk)
		return 0;
	socket_tuple(sk, &key);
	/* What the daemon connects to a pod, it does from the pod's own address. */
	if (same_address(key.source, key.destination)) {
		answer = answers.sk_storage_get(sk, 0, 0);
		if (answer) {
			copy_address(peer->address, answer->far);
			peer->port = answer->far_port;
			return answer->flags & FLOW_TUNNELLED;
		}
	}
	if (!is_translated(&key))
		return 0;
	flow_scope(&key, ctx);
	slot = flow_slot(&key);
	flow = slot ? flow_find(slot, &key) : 0;
	if (!flow || flow->flags & FLOW_TUNNELLED)
		return 0;
	copy_address(peer->address, flow->original);
	peer->port = flow->original_port;
	return 1;
}

/* peer: what the kernel says; replaced by what was asked, if that is known. */
static __always_inline int asked(struct bpf_sock_addr *ctx, struct endpoint *peer)
{
	if (is_stream(ctx->protocol))
		return asked_by_tcp(ctx, peer);
	return ctx->protocol == TRANSPORT_UDP && answered(ctx, peer);
}

int getpeername4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer __attribute__((aligned(8))) = {};

	read4(ctx, &peer);
	/* A tunnel's client may be of the other family, which has no place here. */
	if (asked(ctx, &peer) && family_of(peer.address) == FAMILY_IPV4)
		write4(ctx, &peer);
	return 1;
}

int getpeername6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer __attribute__((aligned(8))) = {};

	read6(ctx, &peer);
	if (asked(ctx, &peer))
		write6(ctx, &peer);
	return 1;
}
