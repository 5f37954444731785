/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* cgroup/connect4 and connect6: the only place where a destination is rewritten. */
#include "../include/pending.h"
#include "../include/resolve.h"

/*
 * called: what connect() was given, replaced by where it is to go. Sockets of
 * network namespaces that aren't enrolled cost one lookup, other destinations of
 * enrolled ones a second.
 */
static __always_inline enum outcome forward(struct bpf_sock_addr *ctx,
					    struct endpoint *called)
{
	struct resolution resolution = {};
	struct pending made = {};
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct pod *pod = pods.lookup(&netns);
	enum outcome outcome;

	if (!pod)
		return OUTCOME_PASS;
	outcome = resolve(pod, called, &resolution);
	if (outcome != OUTCOME_FORWARD)
		return outcome;

	made.cookie = bpf_get_socket_cookie(ctx);
	made.target = resolution.target;
	copy_address(made.original, called->address);
	made.original_port = called->port;
	copy_address(made.destination, resolution.to.address);
	made.destination_port = resolution.to.port;
	made.flags = resolution.flags;
	pending_put(&made);

	*called = resolution.to;
	return outcome;
}

/*
 * A refused connect is sent to port 0 of the socket's own host, where nobody can
 * listen: the kernel resets it without a packet leaving the namespace, and the
 * caller sees ECONNREFUSED at once, blocking or not, and may use the socket again.
 * (To deny the connect would be EPERM; bpf_set_retval() needs Linux 5.18.)
 *
 * In IPv4 the unspecified address is the socket's own end, whatever it is bound
 * to: an address, a device or nothing. In IPv6 it is ::1, which no device but lo
 * leads to, so a bound source is named instead. The one case left over, bound to
 * a device alone, gets ENETUNREACH at once from a multicast address: a v4-mapped
 * destination would be refused too, but spoils the socket for later IPv6 connects,
 * and so does binding it to lo.
 */
int connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint called __attribute__((aligned(8))) = {};

	if (ctx->protocol != TRANSPORT_TCP)
		return 1;
	set_ipv4(called.address, ctx->user_ip4);
	called.port = ctx->user_port;
	switch (forward(ctx, &called)) {
	case OUTCOME_FORWARD:
		ctx->user_ip4 = get_ipv4(called.address);
		ctx->user_port = called.port;
		break;
	case OUTCOME_REFUSE:
		ctx->user_ip4 = 0;
		ctx->user_port = 0;
		break;
	default:
		break;
	}
	return 1;
}

static __always_inline void refusal6(struct bpf_sock *sk, __u8 *address)
{
	__u32 s0, s1, s2, s3;

	if (family_of(address) == FAMILY_IPV4) {
		set_ipv4(address, 0);
		return;
	}
	set_ipv6(address, 0, 0, 0, 0);
	if (!sk)
		return;
	s0 = sk->src_ip6[0], s1 = sk->src_ip6[1];
	s2 = sk->src_ip6[2], s3 = sk->src_ip6[3];
	if (s0 | s1 | s2 | s3)
		set_ipv6(address, s0, s1, s2, s3);
	else if (sk->bound_dev_if)
		set_ipv6(address, bpf_htonl(0xff000000), 0, 0, 0);
}

int connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint called __attribute__((aligned(8))) = {};

	if (ctx->protocol != TRANSPORT_TCP)
		return 1;
	set_ipv6(called.address, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
		 ctx->user_ip6[3]);
	called.port = ctx->user_port;
	switch (forward(ctx, &called)) {
	case OUTCOME_REFUSE:
		refusal6(ctx->sk, called.address);
		called.port = 0;
		/* fallthrough */
	case OUTCOME_FORWARD:
		ctx->user_ip6[0] = ((word32 *)called.address)[0];
		ctx->user_ip6[1] = ((word32 *)called.address)[1];
		ctx->user_ip6[2] = ((word32 *)called.address)[2];
		ctx->user_ip6[3] = ((word32 *)called.address)[3];
		ctx->user_port = called.port;
		break;
	default:
		break;
	}
	return 1;
}
