/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the mesh's own send to other nodes goes by HBONE: a connect() is led to the
 * daemon, which listens on the loopback addresses of the caller's network namespace, a
 * pod's or the one that enrolled cgroups are in, and asks its accepted socket where to.
 * Where it doesn't listen, the connect() is refused: nothing leaves in plain text.
 */
#ifndef TANDEM_TUNNEL_H
#define TANDEM_TUNNEL_H

#include "counters.h"
#include "maps.h"
#include "net.h"
#include "resolve.h"

/* asm-generic/socket.h */
#define SOL_SOCKET 1
#define SO_BINDTODEVICE 25

/* Whether the daemon said that this socket is its own. */
static __always_inline int is_marked(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk && marks.sk_storage_get(sk, 0, 0);
}

/* Whether what was resolved is reached by HBONE. A workload reaches itself without. */
static __always_inline int tunnels(const struct resolution *resolution,
				   const struct pod *pod)
{
	return (resolution->to.flags & ADDRESS_TUNNEL) &&
	       resolution->to.workload != pod->workload;
}

/* called: replaced by where the daemon listens. */
static __always_inline void tunnel_enter(struct bpf_sock_addr *ctx,
					 struct endpoint *called, __u8 family)
{
	struct bpf_sock *sk = ctx->sk;
	char none[1] = {};

	count(COUNTER_CONNECT_TUNNEL);
	/*
	 * A socket that is bound to a device would get no answer: bound to lo neither,
	 * if it has another device's address.
	 */
	if (sk && sk->bound_dev_if)
		bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTODEVICE, none, sizeof(none));
	if (family == FAMILY_IPV4)
		set_ipv4(called->address, bpf_htonl(0x7f000001));
	else
		set_ipv6(called->address, 0, 0, 0, bpf_htonl(1));
	called->port = bpf_htons(TUNNEL_PORT_OUTBOUND);
}

#endif
