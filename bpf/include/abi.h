/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What kernel and user space agree on. bpf/layout.py is generated from this
 * file by bpf/generate.py: keep to structs of __u8/__u16/__u32/__u64/__be16,
 * arrays of __u8, explicit zeroed padding, and enums of plain numbers.
 *
 * Addresses are 16 bytes, IPv4 as v4-mapped (::ffff:a.b.c.d). __be16 is network
 * order; every other number is host order. Names are 64-bit hashes of xDS names
 * (ztunnel_compat/names.py); 0 is none.
 */
#ifndef TANDEM_ABI_H
#define TANDEM_ABI_H

/* pods: netns cookie (__u64) -> an enrolled pod. */
struct pod {
	__u64 workload; /* hash of the workload's uid */
	__u64 waypoint; /* hash of the waypoint service it is an endpoint of */
};

enum address_kind {
	ADDRESS_SERVICE = 1,
	ADDRESS_WORKLOAD = 2,
};

/* addresses: struct address_key -> what is there. */
struct address_key {
	__u8 address[16];
};

struct address {
	__u64 name;	      /* hash of service key or workload uid */
	__u64 waypoint;	      /* hash of the key of the waypoint's service */
	__u32 kind;	      /* enum address_kind */
	__be16 identity_port; /* where only proven flows may arrive, or 0 */
	__u8 pad[2];
};

enum transport {
	TRANSPORT_TCP = 6,
	TRANSPORT_UDP = 17,
};

/* A v4-mapped address is FAMILY_IPV4. */
enum family {
	FAMILY_IPV4 = 4,
	FAMILY_IPV6 = 6,
};

/*
 * ports: struct port_key -> the endpoints behind a service's port. Port 0 of a
 * waypoint's service holds its endpoints' identity ports. Families don't mix:
 * a virtual address leads to endpoints of its own family, or to none.
 */
struct port_key {
	__u64 service;
	__be16 port;
	__u8 transport; /* enum transport */
	__u8 family;	/* enum family: of the address asked for and the endpoints */
	__u8 pad[4];
};

struct port {
	__u32 generation; /* names the set in endpoints */
	__u32 count;
};

/* endpoints: struct endpoint_key -> one endpoint of a set. */
struct endpoint_key {
	__u32 generation;
	__u32 index;
};

struct endpoint {
	__u8 address[16];
	__be16 port;
	__u8 pad[6];
};

/* flows: struct flow_key -> who made a connection, and what for. */
struct flow_key {
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u32 pad;
	__u64 netns; /* netns cookie when the tuple is a loopback one, else 0 */
};

enum flow_flag {
	FLOW_WAYPOINT = 1, /* redirected to the waypoint of its target */
	FLOW_SERVICE = 2,  /* the target is a service's port, not a workload's */
};

/* Also the peer query's answer: getsockopt(SOL_TCP, PEER_QUERY). */
struct flow {
	__u64 source;	   /* hash of the source workload's uid */
	__u64 target;	   /* target_hash(name, port) */
	__u8 original[16]; /* the address that connect() was called with */
	__be16 original_port;
	__u16 flags; /* enum flow_flag */
	__u32 pad;
};

enum peer_query {
	PEER_QUERY_LEVEL = 6,
	PEER_QUERY_OPTION = 200,
};

/* counters: per-CPU array, enum counter -> __u64. Append only. */
enum counter {
	COUNTER_CONNECT_DIRECT = 0,
	COUNTER_CONNECT_SERVICE = 1,
	COUNTER_CONNECT_WAYPOINT = 2,
	COUNTER_REFUSED_NO_PORT = 3,
	COUNTER_REFUSED_NO_ENDPOINT = 4,
	COUNTER_REFUSED_NO_WAYPOINT = 5,
	COUNTER_FLOW_TABLE_FULL = 6,
	COUNTER_PENDING_LOST = 7,
	COUNTER_REFUSED_UNPROVEN = 8,
	COUNTER_MAX = 9,
};

#endif
