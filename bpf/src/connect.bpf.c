/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* cgroup/connect4 and connect6: TCP connections, and UDP sockets with one peer. */
#include "../include/caller.h"
#include "../include/pending.h"
#include "../include/refusal.h"
#include "../include/resolve.h"
#include "../include/telemetry.h"
#include "../include/tunnel.h"

/* For the sockops hook. */
static __always_inline void hand_over(struct bpf_sock_addr *ctx,
				      const struct endpoint *called,
				      const struct resolution *resolution)
{
	struct pending made = {};

	made.cookie = bpf_get_socket_cookie(ctx);
	made.target = resolution->target;
	copy_address(made.original, called->address);
	made.original_port = called->port;
	copy_address(made.destination, resolution->to.address);
	made.destination_port = resolution->to.port;
	made.destination_name = resolution->to.workload;
	made.flags = resolution->flags | accelerate_flag(resolution);
	pending_put(&made);
}

/*
 * called: what connect() was given, replaced by where it is to go. Sockets of
 * network namespaces that aren't enrolled cost one lookup, and one in an array;
 * other destinations of enrolled ones two. A socket that the daemon marked as its own
 * goes where it wants to.
 *
 * Nothing can be sent to UDP's port 0, but libc connects there to learn which source
 * address would be used.
 */
static __always_inline enum outcome forward(struct bpf_sock_addr *ctx,
					    struct endpoint *called, __u8 family)
{
	struct resolution resolution = {};
	struct pod pod;
	enum outcome outcome;

	if (!caller(ctx, &pod) || (is_udp(ctx) && !called->port) || is_marked(ctx))
		return OUTCOME_PASS;
	outcome = resolve(ctx, &pod, called, family, 0, &resolution);
	if (outcome == OUTCOME_REFUSE && !is_udp(ctx))
		traffic_refused(&pod, called, resolution.target, resolution.flags,
				resolution.refused);
	if (outcome != OUTCOME_FORWARD)
		return outcome;
	if (is_udp(ctx))
		reply_put(bpf_get_socket_cookie(ctx), &resolution.to, called);
	else if (!tunnels(&resolution, &pod))
		hand_over(ctx, called, &resolution);
	else {
		resolution.flags |= FLOW_TUNNEL;
		hand_over(ctx, called, &resolution);
		tunnel_enter(ctx, called, family);
		return outcome;
	}
	copy_place(called, &resolution.to);
	return outcome;
}

int connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint called __attribute__((aligned(8))) = {};

	if (ctx->protocol != TRANSPORT_TCP && ctx->protocol != TRANSPORT_UDP)
		return 1;
	read4(ctx, &called);
	switch (forward(ctx, &called, FAMILY_IPV4)) {
	case OUTCOME_FORWARD:
		write4(ctx, &called);
		return 1;
	case OUTCOME_REFUSE:
		return refusal4(ctx);
	default:
		return 1;
	}
}

int connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint called __attribute__((aligned(8))) = {};

	if (ctx->protocol != TRANSPORT_TCP && ctx->protocol != TRANSPORT_UDP)
		return 1;
	read6(ctx, &called);
	switch (forward(ctx, &called, read_family6(ctx))) {
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
