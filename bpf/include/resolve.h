/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where a pod's connect() or datagram leads: one decision for IPv4 and IPv6, TCP and
 * UDP. UDP is balanced and no more: never sent to a waypoint, nor authorized.
 */
#ifndef TANDEM_RESOLVE_H
#define TANDEM_RESOLVE_H

#include "balance.h"
#include "counters.h"
#include "dns.h"
#include "maps.h"
#include "net.h"

enum outcome {
	OUTCOME_PASS,	 /* no enrolled pod's, or not the mesh's: leave it alone */
	OUTCOME_FORWARD, /* to resolution.to */
	OUTCOME_REFUSE,
};

struct resolution {
	struct endpoint to; /* keep and alias are not of the answer */
	__u64 target;
	__u16 flags;
	__u16 refused; /* enum counter: why OUTCOME_REFUSE */
};

/* FLOW_ACCELERATE where the endpoint itself is reached, is near, and asks for it. */
static __always_inline __u16 accelerate_flag(const struct resolution *resolution)
{
	const __u32 needed = ADDRESS_LOCAL | ADDRESS_ACCELERATE;

	if (resolution->flags & (FLOW_WAYPOINT | FLOW_OUTSIDE | FLOW_TUNNEL))
		return 0;
	return (resolution->to.flags & needed) == needed ? FLOW_ACCELERATE : 0;
}

/* Whether a service has a port. Port 0, a waypoint's record, is nobody's to call. */
static __always_inline int known(struct port_key *key)
{
	/* A record that is being swapped may be missing for an instant. */
	return key->port && (ports.lookup(key) || ports.lookup(key));
}

static __always_inline struct address *range(__u64 namespace, const __u8 *address)
{
	struct range_key key = {};

	key.prefix = RANGE_BITS_NAMESPACE + 128;
	key.namespace = namespace;
	copy_address(key.address, address);
	return ranges.lookup(&key);
}

/*
 * What a pod finds at an address: its own namespace comes first, and is asked for
 * addresses and ranges before all namespaces are (so does ztunnel, where it beats the
 * longer prefix). Loopback is in nobody's range.
 */
static __always_inline struct address *locate(const struct pod *pod, const __u8 *address)
{
	struct address_key exact = {};
	struct address *found;

	copy_address(exact.address, address);
	if (pod->flags & POD_OWN_ADDRESSES) {
		exact.namespace = pod->namespace;
		found = addresses.lookup(&exact);
		if (!found && !is_loopback(address))
			found = range(pod->namespace, address);
		if (found)
			return found;
		exact.namespace = 0;
	}
	found = addresses.lookup(&exact);
	if (!found && (pod->flags & POD_RANGES) && !is_loopback(address))
		found = range(0, address);
	return found;
}

static __always_inline enum outcome refuse(struct resolution *resolution, __u32 reason)
{
	resolution->refused = reason;
	count(reason);
	return OUTCOME_REFUSE;
}

/* As called; who is there may be known all the same. */
static __always_inline void pass_through(const struct endpoint *called,
					 struct resolution *resolution)
{
	struct address_key where = {};
	struct address *there;

	copy_place(&resolution->to, called);
	copy_address(where.address, called->address);
	there = addresses.lookup(&where);
	if (there && there->kind == ADDRESS_WORKLOAD) {
		resolution->to.flags = there->flags;
		resolution->to.workload = there->name;
	}
}

/* Only datagrams are sent; either is connected. */
static __always_inline int datagrams(struct bpf_sock_addr *ctx, int sending)
{
	return sending || is_udp(ctx);
}

/*
 * called: what the hook was given; sending: by sendmsg(). A service with PASSTHROUGH
 * takes every port, as ztunnel does: no list of ports is asked.
 */
static __always_inline enum outcome resolve(struct bpf_sock_addr *ctx,
					    const struct pod *pod,
					    const struct endpoint *called, __u8 family,
					    int sending, struct resolution *resolution)
{
	struct asker asker = {};
	struct port_key key = {};
	struct address *address;
	__u64 name, waypoint;
	__u32 kind, flags;

	if (dns_redirect(ctx, called, family, &resolution->to)) {
		resolution->flags = FLOW_DNS;
		count(COUNTER_DNS_REDIRECTED);
		return OUTCOME_FORWARD;
	}
	address = locate(pod, called->address);
	if (!address) {
		copy_place(&resolution->to, called);
		resolution->flags = FLOW_OUTSIDE;
		return datagrams(ctx, sending) ? OUTCOME_PASS : OUTCOME_FORWARD;
	}
	name = address->name;
	waypoint = address->waypoint;
	kind = address->kind;
	flags = address->flags;
	asker.affinity = address->affinity;

	if (kind != ADDRESS_SERVICE && datagrams(ctx, sending)) {
		count(COUNTER_UDP_DIRECT);
		return OUTCOME_PASS;
	}
	key.service = name;
	key.port = called->port;
	key.family = family;
	resolution->target = name ^ (bpf_ntohs(called->port) * PORT_MULTIPLIER);
	resolution->flags = kind == ADDRESS_SERVICE ? FLOW_SERVICE : 0;

	if (!datagrams(ctx, sending) && waypoint && waypoint != pod->waypoint) {
		if (kind == ADDRESS_SERVICE && !(flags & ADDRESS_PASSTHROUGH) &&
		    !known(&key))
			return refuse(resolution, COUNTER_REFUSED_NO_PORT);
		key.service = waypoint;
		key.port = 0;
		asker.affinity = 0;
		resolution->flags |= FLOW_WAYPOINT;
	} else if (kind != ADDRESS_SERVICE) {
		copy_place(&resolution->to, called);
		resolution->to.flags = flags;
		resolution->to.workload = name;
		count(COUNTER_CONNECT_DIRECT);
		return OUTCOME_FORWARD;
	} else if (flags & ADDRESS_PASSTHROUGH) {
		pass_through(called, resolution);
		count(datagrams(ctx, sending) ? COUNTER_UDP_SERVICE
					      : COUNTER_CONNECT_SERVICE);
		return datagrams(ctx, sending) ? OUTCOME_PASS : OUTCOME_FORWARD;
	} else if (!key.port) {
		return refuse(resolution, COUNTER_REFUSED_NO_PORT);
	} else if (!datagrams(ctx, sending) && (flags & ADDRESS_LEAST_CONNECTIONS)) {
		asker.flags = flags;
		resolution->flags |= FLOW_COUNTED;
	}

	resolution->flags = blurred(ctx, resolution->flags);
	asker.affinity = blurred(ctx, asker.affinity);
	asker.flags = blurred(ctx, asker.flags);
	asker.client = pod->workload;
	asker.kind = datagrams(ctx, sending) ? STICKY_UDP : STICKY_TCP;
	asker.sending = sending;
	asker.socket = sending ? bpf_get_socket_cookie(ctx) : 0;
	asker.called = called;
	if (!choose(&key, &asker, &resolution->to)) {
		if (resolution->flags & FLOW_WAYPOINT)
			return refuse(resolution, COUNTER_REFUSED_NO_WAYPOINT);
		return refuse(resolution, known(&key) ? COUNTER_REFUSED_NO_ENDPOINT
						      : COUNTER_REFUSED_NO_PORT);
	}
	if (resolution->flags & FLOW_WAYPOINT)
		count(COUNTER_CONNECT_WAYPOINT);
	else
		count(datagrams(ctx, sending) ? COUNTER_UDP_SERVICE
					      : COUNTER_CONNECT_SERVICE);
	return OUTCOME_FORWARD;
}

#endif
