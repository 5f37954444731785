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

/*
 * pods: netns cookie (__u64) -> an enrolled pod. members: cgroup id (__u64) ->
 * enrolled processes that have no netns of their own.
 */
struct pod {
	__u64 workload;	 /* hash of the workload's uid */
	__u64 waypoint;	 /* hash of the waypoint service it is an endpoint of */
	__u64 identity;	 /* hash of its SPIFFE identity's text */
	__u64 namespace; /* hash of its namespace's name */
	__u32 flags;	 /* enum pod_flag */
	__u8 pad[4];
};

enum pod_flag {
	POD_OWN_ADDRESSES = 1, /* addresses or ranges of its namespace's alone exist */
	POD_RANGES = 2,	       /* ranges for all namespaces exist */
	POD_ACCELERATE = 4,    /* asks for acceleration, where the other end does too */
};

enum address_kind {
	ADDRESS_SERVICE = 1,
	ADDRESS_WORKLOAD = 2,
};

/* addresses: struct address_key -> what is there. */
struct address_key {
	__u8 address[16];
	__u64 namespace; /* hash of the only namespace that sees it; 0: every one does */
};

/*
 * member_levels: the one entry of an array (__u32). Bit n: a cgroup that is n levels
 * below the root is in members. Without a bit, nobody is looked for there.
 */

/* ranges, a trie of longest prefixes: struct range_key -> struct address. */
struct range_key {
	__u32 prefix; /* bits of all below that count: RANGE_BITS_NAMESPACE and more */
	__u8 pad[4];
	__u64 namespace;
	__u8 address[16];
};

enum range_bits {
	RANGE_BITS_NAMESPACE = 96, /* pad and namespace; the address's own come on top */
};

struct address {
	__u64 name;	/* hash of service key or workload uid */
	__u64 waypoint; /* hash of the key of the waypoint's service */
	__u32 kind;	/* enum address_kind */
	__u32 flags;	/* enum address_flag */
	__u32 affinity; /* seconds for which a client keeps its endpoint; 0: it doesn't */
	__u8 pad[4];
};

enum address_flag {
	ADDRESS_LOCAL = 1,	       /* a workload of this node */
	ADDRESS_ACCELERATE = 2,	       /* a workload that asks for acceleration */
	ADDRESS_PASSTHROUGH = 4,       /* a service that takes the address as called */
	ADDRESS_LEAST_CONNECTIONS = 8, /* a service: TCP takes the less busy of two */
	ADDRESS_TUNNEL = 16,	       /* a workload that TCP reaches by HBONE only */
};

enum transport {
	TRANSPORT_TCP = 6,
	TRANSPORT_UDP = 17,
	TRANSPORT_MPTCP = 262,
};

/* A v4-mapped address is FAMILY_IPV4. */
enum family {
	FAMILY_IPV4 = 4,
	FAMILY_IPV6 = 6,
};

/*
 * ports: struct port_key -> the endpoints behind a service's port, TCP and UDP
 * alike: the control plane's stream has no word for the transport. Port 0 of a
 * waypoint's service holds its endpoints' identity ports. Families don't mix:
 * a virtual address leads to endpoints of its own family, or to none.
 */
struct port_key {
	__u64 service;
	__be16 port;
	__u8 family; /* enum family: of the address asked for and the endpoints */
	__u8 pad[5];
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

/*
 * A set's endpoints ascend by address and port, each once. An alias table chooses
 * by weight: a random number below `keep` (of 2^32) keeps the endpoint that was
 * drawn, any other takes the one at `alias`.
 */
struct endpoint {
	__u8 address[16];
	__be16 port;
	__u8 pad[2];
	__u32 flags; /* enum address_flag: LOCAL, ACCELERATE, TUNNEL of the workload */
	__u32 keep;  /* 0xffffffff: always */
	__u32 alias;
	__u64 workload; /* hash of the uid of the workload that it is of */
};

/*
 * sticky: struct sticky_key -> the endpoint that a client keeps. User space neither
 * writes nor deletes: an entry is worth only what its set still has.
 */
struct sticky_key {
	__u64 client; /* hash of the workload's uid; STICKY_SOCKET: socket cookie */
	__u64 service;
	__be16 port;
	__u8 family; /* enum family */
	__u8 kind;   /* enum sticky_kind */
	__u8 pad[4];
};

enum sticky_kind {
	STICKY_TCP = 1,	   /* a workload's affinity */
	STICKY_UDP = 2,	   /* the same, of its datagrams */
	STICKY_SOCKET = 3, /* an unconnected UDP socket's */
};

struct sticky {
	__u8 address[16];
	__be16 port;
	__u8 pad[2];
	__u32 flags;	  /* as the endpoint's */
	__u32 generation; /* of the set that had it when it was last seen there */
	__u8 pad2[4];
	__u64 workload; /* as the endpoint's */
	__u64 check;	/* of all of the above and the key */
	__u64 used;	/* bpf_ktime_get_ns() of the last use */
};

/*
 * active: struct active_key -> open connections of this node to an endpoint (__u64),
 * where least connections are asked for. Whoever deletes a flow with FLOW_COUNTED
 * takes one from its destination (far with FLOW_TUNNEL) and deletes what comes to 0.
 */
struct active_key {
	__u8 address[16];
	__be16 port;
	__u8 pad[6];
};

/*
 * replies: struct reply_key -> what a UDP socket called that its peer is answering.
 * A connected socket's is the one at its peer's address.
 */
struct reply_key {
	__u64 cookie; /* of the socket */
	__u8 address[16];
	__be16 port;
	__u8 pad[6];
};

struct reply {
	__u8 address[16];
	__be16 port;
	__u8 pad[6];
	__u64 check; /* of all of the above and the key */
};

/*
 * nameservers: struct local_address -> __u32, any. What enrolled pods ask of port 53
 * there goes to DNS_PORT_LOCAL of their loopback address while a socket listens on it.
 */
enum dns_port {
	DNS_PORT_ASKED = 53,
	DNS_PORT_LOCAL = 15053,
};

/* Where the daemon listens in each enrolled pod's network namespace. */
enum tunnel_port {
	TUNNEL_PORT_OUTBOUND = 15001, /* on loopback: what is redirected to it */
	TUNNEL_PORT_HBONE = 15008,    /* on the pod's addresses: from other nodes */
};

/* guards: struct local_address -> what guards a local pod's address. */
struct local_address {
	__u8 address[16];
};

/*
 * listeners: struct listener -> the workload (__u64, hash of its uid) whose process
 * is bound to a port of the node's own addresses. member_guards: that -> struct guard.
 */
struct listener {
	__be16 port;
	__u8 pad[6];
};

struct guard {
	__u64 workload;	      /* hash of the uid of the workload that is guarded */
	__u32 policy;	      /* first chunk of its policy set; 0: no policy */
	__be16 identity_port; /* where only proven flows may arrive, or 0 */
	__u16 flags;	      /* enum guard_flag */
};

enum guard_flag {
	GUARD_REFUSE = 1, /* its policies aren't known: nobody may connect */
	GUARD_PARTED = 2, /* kept for when the pod is enrolled again; nobody may, too */
};

/*
 * chunks: number (__u32) -> up to 1,024 rules of a policy set. A set has as many
 * chunks as it needs, numbered upwards from guard.policy. Each rule is a bit; a
 * connection satisfies the rules whose bits are set in the vectors that all four
 * of its properties lead to. Rules are in the order of the set's policies. Bits are
 * numbered as in a little-endian number.
 */
struct chunk {
	__u8 used[128];	    /* all of its rules */
	__u8 deny[128];	    /* rules of DENY policies */
	__u8 allow[128];    /* rules of ALLOW policies */
	__u8 dry_deny[128]; /* the same of policies that are dry run */
	__u8 dry_allow[128];
	__u8 other_ports[128]; /* what a port without an entry satisfies */
	__u32 flags;	       /* enum chunk_flag */
	__u32 words;	       /* how many 64-bit words its rules take */
};

enum chunk_flag {
	CHUNK_IDENTITIES = 1, /* some rule looks at the source's identity */
	CHUNK_SOURCES = 2,    /* ... at the source's address */
	CHUNK_DESTINATIONS = 4,
	CHUNK_PORTS = 8,
	CHUNK_MORE = 16,   /* the set goes on in the next number */
	CHUNK_ALLOWS = 32, /* the set has an ALLOW policy: one must match */
	CHUNK_DRY = 64,	   /* the set has policies that are dry run */
	CHUNK_DRY_ALLOWS = 128,
};

enum rule_index {
	RULE_INDEX_COUNT = 1024, /* rules in a chunk */
	RULE_INDEX_NONE = 65535, /* no rule decided */
};

/* What a property of a connection satisfies, in the four maps that follow. */
struct rules {
	__u8 bits[128];
};

/* chunk_identities: struct identity_rules_key -> struct rules. */
struct identity_rules_key {
	__u32 chunk;
	__u8 pad[4];
	__u64 identity; /* hash of its text; 0: unauthenticated */
};

/*
 * chunk_sources and chunk_destinations, tries of longest prefixes: struct
 * range_rules_key -> struct rules.
 */
struct range_rules_key {
	__u32 prefix; /* bits of chunk and address that count: 32 and more */
	__u32 chunk;
	__u8 address[16];
};

/* chunk_ports: struct port_rules_key -> struct rules. */
struct port_rules_key {
	__u32 chunk;
	__be16 port;
	__u8 pad[2];
};

/* hits: struct hit -> how often, per CPU. */
struct hit {
	__u32 chunk;
	__u16 rule;    /* its index in the chunk, or RULE_INDEX_NONE */
	__u16 verdict; /* enum verdict */
};

enum verdict {
	VERDICT_DENIED = 1,	      /* a DENY policy's rule matches */
	VERDICT_NOT_ALLOWED = 2,      /* there are ALLOW policies, and none matches */
	VERDICT_UNKNOWN_IDENTITY = 3, /* an identity that the set doesn't know yet */
	VERDICT_UNKNOWN_POLICY = 4,   /* the set isn't there, or not whole */
	VERDICT_UNGUARDED = 5,	      /* a guard is missing or says to refuse */
	VERDICT_UNPROVEN = 6,	      /* no redirected flow, at an identity port */
	VERDICT_DRY_DENIED = 7,	      /* passes; dry-run policies alone would refuse */
	VERDICT_DRY_NOT_ALLOWED = 8,
	VERDICT_DRY_ALLOWED = 9, /* dry-run policies alone let it pass */
};

/* flow_slots and flows: struct flow_key -> who made a connection, and what for. */
struct flow_key {
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u32 pad;
	__u64 netns; /* netns cookie where it is loopback or link-local, else 0 */
};

enum flow_flag {
	FLOW_WAYPOINT = 1,    /* redirected to the waypoint of its target */
	FLOW_SERVICE = 2,     /* the target is a service's port, not a workload's */
	FLOW_PROBE = 4,	      /* from the cgroup that makes probes */
	FLOW_OUTSIDE = 8,     /* to an address that is not of the mesh */
	FLOW_ACCELERATE = 16, /* both ends are of this node and ask for acceleration */
	FLOW_COUNTED = 32,    /* counted in active, for least connections */
	FLOW_DNS = 64,	      /* redirected from a nameserver to the daemon */
	FLOW_TUNNEL = 128,    /* redirected to the daemon, to go on by HBONE */
	FLOW_TUNNELLED = 256, /* made by the daemon, for a client that came by HBONE */
};

/*
 * The peer query's answer, getsockopt(SOL_TCP, PEER_QUERY): how a flow begins.
 * far: with FLOW_TUNNEL the endpoint that was chosen, with FLOW_TUNNELLED the client;
 * zeros without a tunnel.
 */
struct peer {
	__u64 source;	   /* hash of the source workload's uid; 0: unknown */
	__u64 target;	   /* target_hash(name, port) */
	__u8 original[16]; /* the address that connect() was called with */
	__be16 original_port;
	__u16 flags; /* enum flow_flag */
	__u32 pad;
	__u64 destination; /* hash of the uid of the workload connected to; 0: unknown */
	__u8 far[16];
	__be16 far_port;
	__u8 pad2[6];
};

/*
 * marks: what the daemon says of a socket of its own, by descriptor, before connect().
 * The hooks leave such a socket alone. With FLOW_TUNNELLED its SYN makes a flow of
 * this; without, none. Begins like struct peer.
 */
struct mark {
	__u64 source;
	__u64 target;
	__u8 original[16];
	__be16 original_port;
	__u16 flags;
	__u32 pad;
	__u64 destination;
	__u8 far[16];
	__be16 far_port;
	__u8 pad2[6];
	__u64 identity; /* hash of the identity that the client's certificate proves */
};

/* Begins like struct peer. */
struct flow {
	__u64 source;
	__u64 target;
	__u8 original[16];
	__be16 original_port;
	__u16 flags;
	__u32 pad;
	__u64 destination;
	__u8 far[16];
	__be16 far_port;
	__u8 pad2[6];
	__u64 identity;	   /* hash of the source's SPIFFE identity; 0: unauthenticated */
	__u64 started;	   /* bpf_ktime_get_ns() at connect() */
	__u64 established; /* and when it succeeded, or 0 */
	__u64 netns;	   /* cookie of the client's namespace */
	__u64 received;	   /* TCP's count at FIN_WAIT2, for telemetry.h */
};

/*
 * What user space has the program flow_request do with a flow. Its packet: one of these
 * (__u32), padding (__u32), struct flow_key, struct flow. It returns whether it did it.
 * None of that ever changes but the two structs: other versions are asked, too.
 */
enum flow_request {
	FLOW_REQUEST_GET = 1,	 /* the packet's flow is the one found, then */
	FLOW_REQUEST_PUT = 2,	 /* in place of the one that is there */
	FLOW_REQUEST_DELETE = 3, /* with what goes with it */
	FLOW_REQUEST_FORGET = 4, /* without: it ended elsewhere */
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
	COUNTER_REFUSED_UNGUARDED = 9, /* a guard is missing or says to refuse */
	COUNTER_UDP_SERVICE = 10, /* connects, and datagrams of unconnected sockets */
	COUNTER_UDP_DIRECT = 11,  /* the same, to workloads */
	COUNTER_DNS_REDIRECTED = 12,
	COUNTER_UDP_UNAUTHORIZED = 13, /* datagrams that evade policies */
	COUNTER_HITS_LOST = 14,	       /* a denial or trial that hits had no room for */
	COUNTER_EVENT_LOST = 15,       /* the ring of events was full */
	COUNTER_TRAFFIC_FULL = 16,     /* accounted without labels */
	COUNTER_ACCELERATED = 17, /* connections whose ends were both put in the map */
	COUNTER_ACCELERATE_FULL = 18, /* an end that didn't fit */
	COUNTER_LISTENERS_FULL = 19,  /* a bound port is unguarded: its bind is refused */
	COUNTER_CONNECT_TUNNEL = 20,  /* led to the daemon; counted above, too */
	COUNTER_FLOW_IN_THE_WAY = 21, /* no flow: another pod's has its tuple */
	COUNTER_MAX = 22,
};

/*
 * traffic: per-CPU hash, struct traffic_key -> sums of the connections that have
 * it in common. The key of zeros takes what finds no room.
 */
struct traffic_key {
	__u64 source;	   /* hash of the source workload's uid; 0: not of this node */
	__u64 target;	   /* target_hash(name, port), or 0 */
	__u64 destination; /* hash of the destination workload's uid; 0: unknown */
	__u32 flags;	   /* enum flow_flag: WAYPOINT, SERVICE, PROBE, OUTSIDE */
	__u8 pad[4];
};

/* Sent is what clients sent. Each connection is in it once, at either end. */
struct traffic {
	__u64 opened;	   /* established */
	__u64 closed;	   /* of those, ended */
	__u64 failed;	   /* never established, and refused by a hook */
	__u64 denied;	   /* by the destination's policy */
	__u64 sent;	   /* bytes that were acknowledged, of closed connections */
	__u64 received;	   /* bytes, of closed connections */
	__u64 latency;	   /* ns from connect() to established, of opened ones */
	__u64 round_trip;  /* smoothed, us, summed at close */
	__u64 retransmits; /* segments sent again, of closed and failed ones */
};

/* limits: per-CPU array, enum event_class -> how many events a window may have. */
enum event_class {
	EVENT_CLASS_CLOSED = 0,
	EVENT_CLASS_FAILED = 1,
	EVENT_CLASS_DENIED = 2,
	EVENT_CLASS_MAX = 3,
};

struct event_limit {
	__u64 window;	  /* 2^27 ns each */
	__u64 suppressed; /* events not made, because a window had enough */
	__u32 used;	  /* events of this window */
	__u32 most;	  /* in a window, on each CPU; user space sets it */
};

enum event_kind {
	EVENT_CLOSED = 1,
	EVENT_FAILED = 2,  /* a connect that got no connection */
	EVENT_REFUSED = 3, /* a connect that led nowhere */
	EVENT_DENIED = 4,  /* by policy, at the SYN */
	EVENT_DRY_RUN = 5, /* would be denied, were the policy enforced */
};

/* Why there is no connection. Append only. */
enum event_reason {
	REASON_NONE = 0,
	REASON_RESET = 1,     /* the destination refused it */
	REASON_TIMED_OUT = 2, /* nothing answered */
	REASON_ABORTED = 3,   /* the client gave up, or had no route */
	REASON_NO_PORT = 4,
	REASON_NO_ENDPOINT = 5,
	REASON_NO_WAYPOINT = 6,
};

/* events: ring buffer. Times: bpf_ktime_get_ns(), 0: it didn't come to that. */
struct event {
	__u32 kind;   /* enum event_kind */
	__u32 reason; /* enum event_reason; in EVENT_DENIED and DRY_RUN enum verdict */
	__u64 source;
	__u64 target;
	__u64 destination;
	__u64 identity;
	__u8 source_address[16]; /* zeros in EVENT_REFUSED: there is no socket's yet */
	__u8 destination_address[16];
	__u8 original[16];
	__be16 source_port;
	__be16 destination_port;
	__be16 original_port;
	__u16 flags; /* enum flow_flag */
	__u64 started;
	__u64 established;
	__u64 ended;
	__u64 sent;
	__u64 received;
	__u32 round_trip; /* us */
	__u32 retransmits;
	__u32 policy; /* chunk and rule that decided, in EVENT_DENIED and DRY_RUN */
	__u32 rule;
};

/* visits: what an accepted socket without a flow carries. */
struct visit {
	__u64 started;	/* when it was accepted */
	__u64 received; /* like flow.received */
};

#endif
