/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * sockops of the cgroup that makes health probes (the kubelet's, or the runner's
 * for them): its connections carry a flow that no policy is asked about.
 */
#include "../include/sockops.h"

int probes(struct bpf_sock_ops *ctx)
{
	struct flow made = {.flags = FLOW_PROBE};
	struct flow_key key = {};
	struct flow_slot *slot;

	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		sockops_tuple(ctx, &key, bpf_get_netns_cookie(ctx));
		made.started = bpf_ktime_get_ns();
		slot = flow_slot(&key);
		if (slot && flow_put(slot, &key, &made))
			bpf_sock_ops_cb_flags_set(ctx,
						  ctx->bpf_sock_ops_cb_flags |
							  BPF_SOCK_OPS_STATE_CB_FLAG);
	} else if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] == BPF_TCP_CLOSE) {
		sockops_tuple(ctx, &key, bpf_get_netns_cookie(ctx));
		slot = flow_slot(&key);
		if (slot)
			flow_remove(slot, &key);
	}
	return 1;
}
