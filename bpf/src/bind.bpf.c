/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * cgroup/post_bind4 and 6: which ports enrolled cgroups are bound to. It is known
 * before the socket listens, so that no connection comes past the guard. A port stays
 * its last owner's, until another process that these hooks see is bound to it: nothing
 * tells reliably when the last of several sockets at a port is closed.
 */
#include "../include/caller.h"
#include "../include/counters.h"

/* Returns whether the bind may be: what can't be guarded isn't let. */
static __always_inline int on_bind(struct bpf_sock *ctx)
{
	__u64 netns = bpf_get_netns_cookie(ctx), cgroup = 0;
	__u32 levels = enrolled_levels();
	struct listener where = {};
	struct pod *found;

	if (!levels || ctx->protocol != TRANSPORT_TCP || pods.lookup(&netns))
		return 1;
	where.port = bpf_htons(ctx->src_port);
	found = member(levels, &cgroup);
	if (!found) {
		listeners.delete(&where);
	} else if (listeners.update(&where, &found->workload)) {
		count(COUNTER_LISTENERS_FULL);
		return 0;
	}
	return 1;
}

int bind4(struct bpf_sock *ctx)
{
	return on_bind(ctx);
}

int bind6(struct bpf_sock *ctx)
{
	return on_bind(ctx);
}
