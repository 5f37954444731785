/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which endpoint of a set: by weight, the less busy of two, or the one that the
 * client had before.
 *
 * A push may swap the set meanwhile: new endpoints are written before the port's
 * record and old ones removed after it, so a record that is the same before and
 * after an endpoint was copied vouches for the copy (the memory of a removed entry
 * may hold another's at once).
 */
#ifndef TANDEM_BALANCE_H
#define TANDEM_BALANCE_H

#include "maps.h"
#include "net.h"
#include "udp.h"

#define KEEP_ALWAYS 0xffffffff
#define NANOSECONDS 1000000000ull
/* A set of 2^20 endpoints is searched in as many steps as its size has bits. */
#define SEARCH_STEPS 21
/* Enough that two of two endpoints differ but once in 250 choices. */
#define TRIES 8

/* Who asks for an endpoint, and by which rule; all zero: any, by weight. */
struct asker {
	__u64 client;		       /* hash of its workload */
	__u64 socket;		       /* its cookie, if sending */
	const struct endpoint *called; /* what it called, if sending */
	__u32 affinity;		       /* seconds, or 0 */
	__u32 kind;		       /* enum sticky_kind of its affinity */
	__u32 flags;		       /* enum address_flag of the service */
	int sending;		       /* from an unconnected UDP socket */
};

static __always_inline void copy_endpoint(struct endpoint *to,
					  const struct endpoint *from)
{
	copy_address(to->address, from->address);
	to->port = from->port;
	to->flags = from->flags;
	to->workload = from->workload;
}

/* One endpoint at random, by weight. An even set is read once. */
static __always_inline int draw(const struct port *set, struct endpoint *drawn)
{
	__u64 wide = (__u64)bpf_get_prandom_u32() * set->count;
	struct endpoint_key at = {set->generation, wide >> 32};
	struct endpoint *found = endpoints.lookup(&at);
	__u32 keep;

	if (!found)
		return 0;
	keep = found->keep;
	if (keep != KEEP_ALWAYS && (__u32)wide >= keep) {
		at.index = found->alias;
		found = endpoints.lookup(&at);
		if (!found)
			return 0;
	}
	copy_endpoint(drawn, found);
	return 1;
}

static __always_inline void active_place(struct active_key *key, const __u8 *address,
					 __be16 port)
{
	*key = (struct active_key){};
	copy_address(key->address, address);
	key->port = port;
}

static __always_inline __u64 busy(const struct endpoint *endpoint)
{
	struct active_key key;
	__u64 *open;

	active_place(&key, endpoint->address, endpoint->port);
	open = active.lookup(&key);
	return open ? *open : 0;
}

/* A connection of least connections begins; returns whether it is counted. */
static __always_inline int active_open(const __u8 *address, __be16 port)
{
	struct active_key key;
	__u64 *open, none = 0;

	active_place(&key, address, port);
	open = active.lookup(&key);
	if (!open) {
		active.insert(&key, &none);
		open = active.lookup(&key);
	}
	if (!open)
		return 0;
	__sync_fetch_and_add(open, 1);
	return 1;
}

/*
 * It ends. An endpoint that has none leaves the map, which thus needs no sweep. One
 * that begins on another CPU at that instant is not seen until the next begins: the
 * choice is a little worse meanwhile, and no count goes below 0.
 */
static __always_inline void active_close(const __u8 *address, __be16 port)
{
	struct active_key key;
	__u64 *open;

	active_place(&key, address, port);
	open = active.lookup(&key);
	if (!open)
		return;
	if (*open > 1)
		__sync_fetch_and_add(open, -1);
	else
		active.delete(&key);
}

/* The power of two choices: the less busy of two different endpoints. */
static __always_inline int draw_less_busy(const struct port *set, struct endpoint *drawn)
{
	struct endpoint other = {};

	if (!draw(set, drawn))
		return 0;
	if (set->count < 2)
		return 1;
	for (int i = 0; i < TRIES; i++) {
		if (!draw(set, &other))
			return 0;
		if (other.port != drawn->port ||
		    !same_address(other.address, drawn->address))
			break;
	}
	if (busy(&other) < busy(drawn))
		copy_endpoint(drawn, &other);
	return 1;
}

/* One that doesn't answer this socket for another virtual address, if there is one. */
static __always_inline int
draw_for_socket(const struct port *set, const struct asker *asker, struct endpoint *drawn)
{
	for (int i = 0; i < TRIES; i++) {
		if (!draw(set, drawn))
			return 0;
		if (set->count < 2 ||
		    !reply_is_anothers(asker->socket, drawn, asker->called))
			break;
	}
	return 1;
}

/* Whether an endpoint comes before another in a set's order. */
static __always_inline int before(const struct endpoint *left, const struct sticky *right)
{
	const word64 *a = (const word64 *)left->address;
	const word64 *b = (const word64 *)right->address;

	if (a[0] != b[0])
		return __builtin_bswap64(a[0]) < __builtin_bswap64(b[0]);
	if (a[1] != b[1])
		return __builtin_bswap64(a[1]) < __builtin_bswap64(b[1]);
	return bpf_ntohs(left->port) < bpf_ntohs(right->port);
}

/* Whether a set has an endpoint, by binary search. */
static __always_inline int
find_endpoint(const struct port *set, const struct sticky *kept, struct endpoint *found)
{
	struct endpoint_key at = {set->generation, 0};
	__u32 from = 0, to = set->count;

	for (int step = 0; step < SEARCH_STEPS; step++) {
		struct endpoint *middle;

		if (from >= to)
			break;
		at.index = from + (to - from) / 2;
		middle = endpoints.lookup(&at);
		if (!middle)
			break;
		if (middle->port == kept->port &&
		    same_address(middle->address, kept->address)) {
			copy_endpoint(found, middle);
			return 1;
		}
		if (before(middle, kept))
			from = at.index + 1;
		else
			to = at.index;
	}
	return 0;
}

#define STICKY_WORDS (__builtin_offsetof(struct sticky, check) / 8)

static __always_inline __u64 sticky_check(const struct sticky_key *key,
					  const struct sticky *kept)
{
	return check_words(check_words(0, key, sizeof(*key) / 8), kept, STICKY_WORDS);
}

static __always_inline void
sticky_place(struct sticky_key *key, const struct port_key *port, __u64 client, __u8 kind)
{
	*key = (struct sticky_key){};
	key->client = client;
	key->service = port->service;
	key->port = port->port;
	key->family = port->family;
	key->kind = kind;
}

/*
 * The endpoint that a client kept within its time, which each use begins anew, as
 * kube-proxy has it; seconds 0: for ever. Whether the set still has it is to be seen.
 * The check tells an entry whose memory came to hold another's.
 */
static __always_inline int recall(const struct port_key *port, __u64 client, __u8 kind,
				  __u32 seconds, struct sticky *kept)
{
	__u64 now = bpf_ktime_get_ns();
	struct sticky_key key;
	struct sticky *entry;

	sticky_place(&key, port, client, kind);
	entry = sticky.lookup(&key);
	if (!entry)
		return 0;
	copy_words(kept, entry, sizeof(*kept) / 8);
	if (kept->check != sticky_check(&key, kept))
		return 0;
	if (seconds && (__s64)(now - kept->used) > (__s64)(seconds * NANOSECONDS))
		return 0;
	entry->used = now;
	return 1;
}

static __always_inline void stick(const struct port_key *port, __u64 client, __u8 kind,
				  __u32 generation, const struct endpoint *chosen)
{
	struct sticky_key key;
	struct sticky made = {};

	sticky_place(&key, port, client, kind);
	copy_address(made.address, chosen->address);
	made.port = chosen->port;
	made.flags = chosen->flags;
	made.generation = generation;
	made.workload = chosen->workload;
	made.check = sticky_check(&key, &made);
	made.used = bpf_ktime_get_ns();
	sticky.update(&key, &made);
}

/* Whether the port's record is still the same: all that was read of the set is right. */
static __always_inline int vouched(const struct port_key *key, const struct port *set)
{
	struct port *record = ports.lookup((struct port_key *)key);

	return record && *(volatile word64 *)record == *(const word64 *)set;
}

static __always_inline int read_set(const struct port_key *key, struct port *set)
{
	struct port *record = ports.lookup((struct port_key *)key);

	if (!record)
		return 0;
	*(word64 *)set = *(volatile word64 *)record;
	return 1;
}

/*
 * The endpoint that a client kept, if the set has it still: the same generation needs
 * no search. One that can't be found because the set is swapped at this very moment
 * counts as gone.
 */
static __always_inline int choose_again(const struct port_key *key, __u64 client,
					__u8 kind, __u32 seconds, struct endpoint *chosen)
{
	struct sticky kept = {};
	struct port set;

	if (!recall(key, client, kind, seconds, &kept) || !read_set(key, &set))
		return 0;
	if (kept.generation == set.generation) {
		copy_address(chosen->address, kept.address);
		chosen->port = kept.port;
		chosen->flags = kept.flags;
		chosen->workload = kept.workload;
		return 1;
	}
	if (!find_endpoint(&set, &kept, chosen) || !vouched(key, &set))
		return 0;
	stick(key, client, kind, set.generation, chosen);
	return 1;
}

static __always_inline int draw_for(const struct asker *asker, const struct port *set,
				    struct endpoint *drawn)
{
	if (asker->sending)
		return draw_for_socket(set, asker, drawn);
	if (asker->flags & ADDRESS_LEAST_CONNECTIONS)
		return draw_less_busy(set, drawn);
	return draw(set, drawn);
}

/*
 * An endpoint of a port; returns whether there is one. A socket that sends keeps its
 * own before its workload's.
 */
static __always_inline int choose(const struct port_key *key, const struct asker *asker,
				  struct endpoint *chosen)
{
	struct port set = {};
	int fresh = 0;

	if (asker->sending && choose_again(key, asker->socket, STICKY_SOCKET, 0, chosen))
		return 1;
	if (!asker->affinity ||
	    !choose_again(key, asker->client, asker->kind, asker->affinity, chosen)) {
		for (int attempt = 0; attempt < 3 && !fresh; attempt++) {
			if (!read_set(key, &set))
				continue;
			if (set.count == 0)
				return 0;
			fresh = draw_for(asker, &set, chosen) && vouched(key, &set);
		}
		if (!fresh || family_of(chosen->address) != key->family)
			return 0;
	}
	/* Generation 0, where the workload's was taken, is searched for next time. */
	if (asker->sending)
		stick(key, asker->socket, STICKY_SOCKET, set.generation, chosen);
	if (asker->affinity && fresh)
		stick(key, asker->client, asker->kind, set.generation, chosen);
	return 1;
}

#endif
