/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The maps; who loads them pins each by its name. Sizes come from bpf/knobs.py as MAX_*.
 *
 * Hashes aren't preallocated: a connect costs the same either way, and memory is taken
 * for what there is. An entry goes when user space or the end of a connection removes
 * it, never because another came.
 *
 * sticky, replies and waiting alone are LRUs, and preallocated. UDP has no event that
 * tells its end, and none of them is an authority: what falls out of sticky is chosen
 * anew; a reply that fell out is seen as coming from where it really comes from; a
 * connection whose hand-over fell out of waiting is counted, and has no target.
 */
#ifndef TANDEM_MAPS_H
#define TANDEM_MAPS_H

#include "abi.h"

/* What a connect hook tells the sockops hook about the same connect(). See pending.h. */
struct pending {
	__u64 cookie; /* of the socket */
	__u64 target;
	__u8 original[16];
	__u8 destination[16]; /* the endpoint; with FLOW_TUNNEL the daemon goes there */
	__be16 original_port;
	__be16 destination_port;
	__u16 flags;
	__u16 pad;
	__u64 destination_name; /* hash of the workload there */
	__u64 check;		/* of all of the above */
};

/* Where a socket's cookie leads: a slot serves many. */
struct pending_slot {
	__u32 claims; /* who makes it 1 writes */
	__u32 pad;
	__u64 taken; /* the socket whose SYN has had it */
	struct pending made;
};

#define HASH(key, value, name, size)                                                     \
	BPF_F_TABLE("hash", key, value, name, size, BPF_F_NO_PREALLOC)
#define TRIE(key, value, name, size)                                                     \
	BPF_F_TABLE("lpm_trie", key, value, name, size, BPF_F_NO_PREALLOC)
#define LRU(key, value, name, size) BPF_TABLE("lru_hash", key, value, name, size)

HASH(__u64, struct pod, pods, MAX_PODS);
HASH(__u64, struct pod, members, MAX_MEMBERS);
HASH(struct address_key, struct address, addresses, MAX_ADDRESSES);
TRIE(struct range_key, struct address, ranges, MAX_RANGES);
HASH(struct port_key, struct port, ports, MAX_PORTS);
HASH(struct endpoint_key, struct endpoint, endpoints, MAX_ENDPOINTS);
HASH(struct local_address, struct guard, guards, MAX_GUARDS);
HASH(struct listener, __u64, listeners, MAX_LISTENERS);
HASH(__u64, struct guard, member_guards, MAX_MEMBERS);
HASH(struct flow_key, struct flow, flows, MAX_FLOWS);
HASH(struct active_key, __u64, active, MAX_ACTIVE);
HASH(struct local_address, __u32, nameservers, MAX_NAMESERVERS);
LRU(struct sticky_key, struct sticky, sticky, MAX_STICKY);
LRU(struct reply_key, struct reply, replies, MAX_REPLIES);
HASH(__u32, struct chunk, chunks, MAX_CHUNKS);
HASH(struct identity_rules_key, struct rules, chunk_identities, MAX_CHUNK_IDENTITIES);
TRIE(struct range_rules_key, struct rules, chunk_sources, MAX_CHUNK_SOURCES);
TRIE(struct range_rules_key, struct rules, chunk_destinations, MAX_CHUNK_DESTINATIONS);
HASH(struct port_rules_key, struct rules, chunk_ports, MAX_CHUNK_PORTS);

/*
 * Accelerated connections, by their lower end (order_pair() of accelerate.h), and
 * their sockets. Each word has one writer, which holds the lock of a socket.
 */
struct accelerated_end {
	__u64 sent;	 /* bytes that it sent past TCP */
	__u64 sent_cost; /* the same, with what the kernel's record of each message takes
			  */
	__u64 read_cost; /* of that the other end has read; the other end writes this */
	__u32 write_seq; /* its TCP's while that has sent nothing */
	__u32 passed_on; /* whether TCP has it for good: write_seq comes round */
};

struct accelerated {
	struct accelerated_end ends[2]; /* the lower first */
};

struct socket_key {
	struct flow_key pair;
	__u64 end; /* whose socket: 0 the lower's, 1 the other's */
};

HASH(struct flow_key, struct accelerated, accelerated, MAX_ACCELERATED);

struct sockets_table_t {
	struct socket_key key;
	int leaf;
	int (*sock_hash_update)(void *, void *, u64);
	int (*msg_redirect_hash)(void *, void *, u64);
	__u32 max_entries;
};
__attribute__((section("maps/sockhash"))) struct sockets_table_t sockets = {
	.max_entries = 2 * MAX_ACCELERATED};
BPF_ANNOTATE_KV_PAIR(sockets, struct socket_key, int);

/*
 * A place in flow_slots, which a connection's tuple chooses: most flows live and end
 * there, at a fraction of what a hash takes to make and delete an entry. One whose slot
 * is taken is in flows instead, and counted here, so that nobody looks there in vain.
 */
struct flow_slot {
	__u32 claims;	  /* who makes it 1 has the slot */
	__u32 overflowed; /* flows of this slot that are in flows */
	__u64 check;	  /* flow_check(), 0 without a flow; plus those who end it */
	struct flow_key key;
	struct flow flow;
};

BPF_TABLE("array", __u32, struct flow_slot, flow_slots, MAX_FLOW_SLOTS);
BPF_TABLE("array", __u32, struct pending_slot, pending, MAX_PENDING);
BPF_TABLE("array", __u32, __u32, member_levels, 1);
/*
 * By a socket's own port: whether a flow began there that leads elsewhere than it was
 * asked to, ever. Where none did, as at servers' ports, getpeername() looks no further.
 * Neighbouring ports share a byte, so that the whole stays in the caches: each
 * connection has another port.
 */
#define TRANSLATED_PORTS 4
BPF_TABLE("array", __u32, __u64, translated, 65536 / TRANSLATED_PORTS / 8);
/* What was set aside, by socket cookie. */
BPF_TABLE("lru_hash", __u64, struct pending, waiting, MAX_WAITING);
BPF_TABLE("percpu_array", __u32, __u64, counters, COUNTER_MAX);
/* Preallocated: what it counts must not depend on memory being free. */
BPF_TABLE("percpu_hash", struct hit, __u64, hits, MAX_HITS);

/* Where sk_lookup narrows rules down: its stack has no room for them. */
struct narrowed {
	__u64 rules[RULE_INDEX_COUNT / 64];
	struct range_rules_key range;
	struct traffic_key where;
	struct flow flow;
};
BPF_TABLE("percpu_array", __u32, struct narrowed, narrowing, 1);

#define STORAGE(value, name)                                                             \
	struct name##_table_t {                                                          \
		int key;                                                                 \
		value leaf;                                                              \
		void *(*sk_storage_get)(void *, void *, int);                            \
		int (*sk_storage_delete)(void *);                                        \
		__u32 flags;                                                             \
	};                                                                               \
	__attribute__((section("maps/sk_storage"))) struct name##_table_t name = {       \
		.flags = BPF_F_NO_PREALLOC};                                             \
	BPF_ANNOTATE_KV_PAIR(name, int, value)

#define PERCPU_HASH(key, value, name, size)                                              \
	BPF_F_TABLE("percpu_hash", key, value, name, size, BPF_F_NO_PREALLOC)

PERCPU_HASH(struct traffic_key, struct traffic, traffic, MAX_TRAFFIC);
/* Nothing but zeros, which a program's stack has no room for. */
BPF_TABLE("array", __u32, struct traffic, blank, 1);
BPF_TABLE("percpu_array", __u32, struct event_limit, limits, EVENT_CLASS_MAX);

/* As BCC's ring buffer macro, of a size in bytes. */
struct events_table_t {
	int key;
	__u32 leaf;
	void *(*ringbuf_reserve)(__u64);
	void (*ringbuf_submit)(void *, __u64);
	__u32 max_entries;
};
__attribute__((section("maps/ringbuf"))) struct events_table_t events = {
	.max_entries = MAX_EVENTS};

/* Accepted sockets of enrolled pods whose clients aren't of this node. */
STORAGE(struct visit, visits);

/* Answers to the peer query that must outlive their flow, by accepted socket. */
STORAGE(struct peer, answers);

/* What the daemon says of its own sockets. */
STORAGE(struct mark, marks);

/* The enrolled cgroup whose process called connect(), by the client's socket. */
STORAGE(__u64, owners);

#endif
