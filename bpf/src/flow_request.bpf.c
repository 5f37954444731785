/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Attached to nothing: user space runs it, with a packet that is a request (abi.h). So
 * only programs write flows, and where they are is decided in one place.
 */
#include "../include/flows.h"

struct request {
	__u32 what; /* enum flow_request */
	__u32 pad;
	struct flow_key key;
	struct flow flow;
};

int flow_request(struct __sk_buff *ctx)
{
	struct request request;
	struct flow_slot *slot;
	struct flow *flow;

	if (bpf_skb_load_bytes(ctx, 0, &request, sizeof(request)))
		return 0;
	slot = flow_slot(&request.key);
	if (!slot)
		return 0;
	switch (request.what) {
	case FLOW_REQUEST_GET:
		return flow_copy(slot, &request.key, &request.flow) &&
		       !bpf_skb_store_bytes(ctx, 0, &request, sizeof(request), 0);
	case FLOW_REQUEST_PUT:
		return flow_put(slot, &request.key, &request.flow);
	case FLOW_REQUEST_DELETE:
		flow = flow_find(slot, &request.key);
		if (!flow)
			return 0;
		flow_close(slot, &request.key, flow);
		return !flow_find(slot, &request.key);
	case FLOW_REQUEST_FORGET:
		flow_remove(slot, &request.key);
		return !flow_find(slot, &request.key);
	default:
		return 0;
	}
}
