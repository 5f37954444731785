/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where refused callers are sent: to their socket's own host, without a packet
 * leaving the namespace, so that they see ECONNREFUSED as of a closed port. (To deny
 * the call would be EPERM; bpf_set_retval() needs Linux 5.18.)
 *
 * TCP goes to port 0, where nobody can listen: the kernel resets it at once, blocking
 * or not, and the socket may be used again. UDP goes to REFUSAL_PORT. A connected UDP
 * socket that was refused keeps a loopback source until connect(AF_UNSPEC), as any
 * does that was connected to loopback.
 *
 * In IPv4 the unspecified address is the socket's own end, whatever it is bound
 * to: an address, a device or nothing. In IPv6 it is ::1, which no device but lo
 * leads to, so a bound source is named instead. The one case left over, TCP bound to
 * a device alone, gets ENETUNREACH at once from a multicast address: a v4-mapped
 * destination would be refused too, but spoils the socket for later IPv6 connects,
 * and so does binding it to lo. UDP that is bound to a device gets EPERM: the error
 * from lo would not find the socket, nor may a datagram go out by the device.
 */
#ifndef TANDEM_REFUSAL_H
#define TANDEM_REFUSAL_H

#include "net.h"
#include "udp.h"

static __always_inline int deaf_to_loopback(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return is_udp(ctx) && sk && sk->bound_dev_if;
}

/* Returns whether the call may go on. */
static __always_inline int refusal4(struct bpf_sock_addr *ctx)
{
	ctx->user_ip4 = 0;
	ctx->user_port = is_udp(ctx) ? REFUSAL_PORT : 0;
	return !deaf_to_loopback(ctx);
}

/* called: replaced by where it goes; returns whether the call may go on. */
static __always_inline int refusal6(struct bpf_sock_addr *ctx, struct endpoint *called)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 s0, s1, s2, s3;

	called->port = is_udp(ctx) ? REFUSAL_PORT : 0;
	if (deaf_to_loopback(ctx))
		return 0;
	if (family_of(called->address) == FAMILY_IPV4) {
		set_ipv4(called->address, 0);
		return 1;
	}
	set_ipv6(called->address, 0, 0, 0, 0);
	if (!sk)
		return 1;
	s0 = sk->src_ip6[0], s1 = sk->src_ip6[1];
	s2 = sk->src_ip6[2], s3 = sk->src_ip6[3];
	if (s0 | s1 | s2 | s3)
		set_ipv6(called->address, s0, s1, s2, s3);
	else if (sk->bound_dev_if)
		set_ipv6(called->address, bpf_htonl(0xff000000), 0, 0, 0);
	return 1;
}

#endif
