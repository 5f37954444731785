/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* sk_msg, on the sockets of accelerated connections: past TCP, or by it? */
#include "../include/accelerate.h"

int sk_msg(struct sk_msg_md *ctx)
{
	struct socket_key key = {};

	if (ctx->family == AF_INET) {
		set_ipv4(key.pair.source, loaded(ctx->local_ip4));
		set_ipv4(key.pair.destination, loaded(ctx->remote_ip4));
	} else {
		set_ipv6(key.pair.source, loaded(ctx->local_ip6[0]),
			 loaded(ctx->local_ip6[1]), loaded(ctx->local_ip6[2]),
			 loaded(ctx->local_ip6[3]));
		set_ipv6(key.pair.destination, loaded(ctx->remote_ip6[0]),
			 loaded(ctx->remote_ip6[1]), loaded(ctx->remote_ip6[2]),
			 loaded(ctx->remote_ip6[3]));
	}
	key.pair.source_port = bpf_htons(loaded(ctx->local_port));
	key.pair.destination_port = bpf_htons(bpf_ntohl(loaded(ctx->remote_port)));
	accelerate_message(ctx, &key);
	return SK_PASS;
}
