/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where an enrolled pod's connect() leads: one decision for IPv4 and IPv6. */
#ifndef TANDEM_RESOLVE_H
#define TANDEM_RESOLVE_H

#include "counters.h"
#include "maps.h"
#include "net.h"

/* The multiplier of ztunnel_compat/names.py. */
#define PORT_MULTIPLIER 0x9E3779B97F4A7C15ull

enum outcome {
	OUTCOME_PASS,	 /* no mesh destination: leave it alone */
	OUTCOME_FORWARD, /* connect to resolution.to */
	OUTCOME_REFUSE,
};

struct resolution {
	struct endpoint to;
	__u64 target;
	__u16 flags;
};

/* Whether a service has a port. Port 0, a waypoint's record, is nobody's to call. */
static __always_inline int known(struct port_key *key)
{
	/* A record that is being swapped may be missing for an instant. */
	return key->port && (ports.lookup(key) || ports.lookup(key));
}

/*
 * One endpoint of a port, at random; returns whether there is one. A push may swap
 * the port's set meanwhile: new endpoints are written before the port's record and
 * old ones removed after it, so a record that is the same before and after the
 * endpoint was copied vouches for the copy (the memory of a removed entry may hold
 * another's at once).
 */
static __always_inline int choose(struct port_key *key, struct endpoint *chosen)
{
#pragma unroll
	for (int attempt = 0; attempt < 3; attempt++) {
		struct port *record = ports.lookup(key);
		struct endpoint *found;
		struct port set;
		struct endpoint_key at;

		if (!record)
			continue;
		*(word64 *)&set = *(volatile word64 *)record;
		if (set.count == 0)
			return 0;
		at.generation = set.generation;
		at.index = ((__u64)bpf_get_prandom_u32() * set.count) >> 32;
		found = endpoints.lookup(&at);
		if (!found)
			continue;
		copy_address(chosen->address, found->address);
		chosen->port = found->port;
		record = ports.lookup(key);
		if (record && *(volatile word64 *)record == *(word64 *)&set)
			return family_of(chosen->address) == key->family;
	}
	return 0;
}

static __always_inline enum outcome refuse(__u32 reason)
{
	count(reason);
	return OUTCOME_REFUSE;
}

/* called: what connect() was given. */
static __always_inline enum outcome resolve(const struct pod *pod,
					    const struct endpoint *called,
					    struct resolution *resolution)
{
	struct address_key where = {};
	struct port_key key = {};
	struct address *address;
	__u64 name, waypoint;
	__u32 kind;

	copy_address(where.address, called->address);
	address = addresses.lookup(&where);
	if (!address)
		return OUTCOME_PASS;
	name = address->name;
	waypoint = address->waypoint;
	kind = address->kind;

	key.service = name;
	key.port = called->port;
	key.transport = TRANSPORT_TCP;
	key.family = family_of(called->address);
	resolution->target = name ^ (bpf_ntohs(called->port) * PORT_MULTIPLIER);
	resolution->flags = kind == ADDRESS_SERVICE ? FLOW_SERVICE : 0;

	if (waypoint && waypoint != pod->waypoint) {
		if (kind == ADDRESS_SERVICE && !known(&key))
			return refuse(COUNTER_REFUSED_NO_PORT);
		key.service = waypoint;
		key.port = 0;
		resolution->flags |= FLOW_WAYPOINT;
		if (!choose(&key, &resolution->to))
			return refuse(COUNTER_REFUSED_NO_WAYPOINT);
		count(COUNTER_CONNECT_WAYPOINT);
		return OUTCOME_FORWARD;
	}
	if (kind == ADDRESS_SERVICE) {
		if (!key.port || !choose(&key, &resolution->to))
			return refuse(known(&key) ? COUNTER_REFUSED_NO_ENDPOINT
						  : COUNTER_REFUSED_NO_PORT);
		count(COUNTER_CONNECT_SERVICE);
		return OUTCOME_FORWARD;
	}
	resolution->to = *called;
	count(COUNTER_CONNECT_DIRECT);
	return OUTCOME_FORWARD;
}

#endif
