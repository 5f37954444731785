/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef TANDEM_SOCKOPS_H
#define TANDEM_SOCKOPS_H

#include "flows.h"

/*
 * The connection of a socket, its own end as the source; key must be zeroed. netns: the
 * socket's. What differs between the families is decided in one place, where the
 * compiler knows which it is.
 */
static __always_inline void sockops_tuple(struct bpf_sock_ops *ctx, struct flow_key *key,
					  __u64 netns)
{
	__u32 source_port = loaded(ctx->local_port);
	__u32 destination_port = loaded(ctx->remote_port);

	key->source_port = bpf_htons(source_port);
	key->destination_port = bpf_htons(bpf_ntohl(destination_port));
	if (ctx->family == AF_INET) {
		__u32 source = loaded(ctx->local_ip4);
		__u32 destination = loaded(ctx->remote_ip4);

		set_ipv4(key->source, source);
		set_ipv4(key->destination, destination);
		key->netns = flow_is_scoped(key) ? netns : 0;
	} else {
		__u32 s0 = loaded(ctx->local_ip6[0]), s1 = loaded(ctx->local_ip6[1]);
		__u32 s2 = loaded(ctx->local_ip6[2]), s3 = loaded(ctx->local_ip6[3]);
		__u32 d0 = loaded(ctx->remote_ip6[0]), d1 = loaded(ctx->remote_ip6[1]);
		__u32 d2 = loaded(ctx->remote_ip6[2]), d3 = loaded(ctx->remote_ip6[3]);

		set_ipv6(key->source, s0, s1, s2, s3);
		set_ipv6(key->destination, d0, d1, d2, d3);
		key->netns = flow_is_scoped(key) ? netns : 0;
	}
}

#endif
