/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * cgroup/recvmsg4 and 6: a datagram is from the address that its socket asked. Run for
 * connected sockets too, where the caller wants to know whom it is from. An IPv6
 * socket gets IPv4 datagrams here as v4-mapped.
 */
#include "../include/udp.h"

int recvmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer __attribute__((aligned(8))) = {};

	read4(ctx, &peer);
	if (ctx->protocol == TRANSPORT_UDP && answered(ctx, &peer))
		write4(ctx, &peer);
	return 1;
}

int recvmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer __attribute__((aligned(8))) = {};

	read6(ctx, &peer);
	if (ctx->protocol == TRANSPORT_UDP && answered(ctx, &peer))
		write6(ctx, &peer);
	return 1;
}
