/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The maps, pinned under PIN_DIR. Sizes come from bpf/knobs.py as MAX_*.
 *
 * Hashes aren't preallocated: a connect costs the same either way (1.5 us of hooks),
 * and a node's maps take 15 MB in place of 67. None is an LRU: an entry goes when
 * user space or the end of a connection removes it, never because another came.
 */
#ifndef TANDEM_MAPS_H
#define TANDEM_MAPS_H

#include "abi.h"

/*
 * What a connect hook tells the sockops hook about the same connect(), through
 * slot (cookie % MAX_PENDING): a slot serves many sockets and may be overwritten,
 * from another CPU too, at any moment. See pending.h.
 */
struct pending {
	__u64 cookie; /* of the socket */
	__u64 target;
	__u8 original[16];
	__u8 destination[16]; /* as rewritten */
	__be16 original_port;
	__be16 destination_port;
	__u16 flags;
	__u16 pad;
	__u64 check; /* of all of the above */
};

#define PINNED_HASH(key, value, name, size)                                              \
	BPF_TABLE_PINNED("hash", key, value, name, size, PIN_DIR "/" #name,              \
			 BPF_F_NO_PREALLOC)

PINNED_HASH(__u64, struct pod, pods, MAX_PODS);
PINNED_HASH(struct address_key, struct address, addresses, MAX_ADDRESSES);
PINNED_HASH(struct port_key, struct port, ports, MAX_PORTS);
PINNED_HASH(struct endpoint_key, struct endpoint, endpoints, MAX_ENDPOINTS);
PINNED_HASH(struct flow_key, struct flow, flows, MAX_FLOWS);

BPF_TABLE_PINNED("array", __u32, struct pending, pending, MAX_PENDING,
		 PIN_DIR "/pending");
BPF_TABLE_PINNED("percpu_array", __u32, __u64, counters, COUNTER_MAX,
		 PIN_DIR "/counters");

/* Answers to the peer query that must outlive their flow, by accepted socket. */
struct answers_table_t {
	int key;
	struct flow leaf;
	void *(*sk_storage_get)(void *, void *, int);
	int (*sk_storage_delete)(void *);
	__u32 flags;
};
__attribute__((section("maps/sk_storage:" PIN_DIR
		       "/answers"))) struct answers_table_t answers = {
	.flags = BPF_F_NO_PREALLOC};
BPF_ANNOTATE_KV_PAIR(answers, int, struct flow);

#endif
