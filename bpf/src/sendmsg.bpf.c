/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * cgroup/sendmsg4 and 6: datagrams whose caller names the destination. What a socket
 * sends to one virtual address and port stays on one endpoint while the set has it,
 * so that QUIC's connections, and any protocol of several datagrams, hold together.
 */
#include "../include/caller.h"
#include "../include/refusal.h"
#include "../include/resolve.h"

static __always_inline enum outcome send(struct bpf_sock_addr *ctx,
					 struct endpoint *called, __u8 family)
{
	struct resolution resolution = {};
	struct pod pod;
	enum outcome outcome;

	if (!caller(ctx, &pod))
		return OUTCOME_PASS;
	outcome = resolve(ctx, &pod, called, family, 1, &resolution);
	if (outcome != OUTCOME_FORWARD)
		return outcome;
	reply_put(bpf_get_socket_cookie(ctx), &resolution.to, called);
	copy_place(called, &resolution.to);
	return outcome;
}

/* An IPv6 socket that is connected to a v4-mapped address comes by with its peer. */
static __always_inline int sends_to_peer(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk && sk->state == BPF_TCP_ESTABLISHED && sk->dst_ip4 == ctx->user_ip4 &&
	       sk->dst_port == ctx->user_port;
}

int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint called __attribute__((aligned(8))) = {};

	if (ctx->protocol != TRANSPORT_UDP || sends_to_peer(ctx))
		return 1;
	read4(ctx, &called);
	switch (send(ctx, &called, FAMILY_IPV4)) {
	case OUTCOME_FORWARD:
		write4(ctx, &called);
		return 1;
	case OUTCOME_REFUSE:
		return refusal4(ctx);
	default:
		return 1;
	}
}

int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint called __attribute__((aligned(8))) = {};

	if (ctx->protocol != TRANSPORT_UDP)
		return 1;
	read6(ctx, &called);
	switch (send(ctx, &called, read_family6(ctx))) {
	case OUTCOME_REFUSE:
		if (!refusal6(ctx, &called))
			return 0;
		/* fallthrough */
	case OUTCOME_FORWARD:
		write6(ctx, &called);
		return 1;
	default:
		return 1;
	}
}
