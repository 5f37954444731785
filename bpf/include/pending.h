/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The hand-over from connect() to the SYN. There are few slots, so that the one that is
 * next is in the CPU's caches still: a socket keeps its slot for some microseconds. What
 * is in it is taken only if it is whole (its check word agrees), of this very socket
 * (cookie) and of this very connect (destination, or to the daemon).
 *
 * With TCP Fast Open, connect() may return long before its SYN leaves with the first
 * data, and any thread may be held up in between. So what somebody still waits for is
 * set aside when another socket needs the slot: connects whose SYN follows at once
 * hardly ever see that.
 */
#ifndef TANDEM_PENDING_H
#define TANDEM_PENDING_H

#include "maps.h"
#include "net.h"

#define PENDING_WORDS (__builtin_offsetof(struct pending, check) / 8)

static __always_inline struct pending_slot *pending_slot_of(__u64 cookie)
{
	__u32 index = cookie & (MAX_PENDING - 1);

	return pending.lookup(&index);
}

/* Whose SYN waits for what is in a slot; 0: nobody's. */
static __always_inline __u64 pending_waits(const struct pending_slot *slot)
{
	__u64 held = *(volatile word64 *)&slot->made.cookie;

	return held != *(volatile word64 *)&slot->taken ? held : 0;
}

/* Whoever waits is in the slot or among those set aside at any moment. */
static __always_inline void pending_put(struct pending *made)
{
	struct pending_slot *slot = pending_slot_of(made->cookie);
	__u64 held;

	made->check = check_words(0, made, PENDING_WORDS);
	if (slot && claim(&slot->claims)) {
		held = pending_waits(slot);
		if (held && held != made->cookie)
			waiting.update(&held, &slot->made);
		slot->taken = 0;
		copy_words(&slot->made, made, PENDING_WORDS + 1);
		unclaim(&slot->claims);
		return;
	}
	waiting.update(&made->cookie, made);
}

/* Whether a hand-over is of a connect() that became this connection. */
static __always_inline int pending_fits(const struct pending *made,
					const struct flow_key *connection)
{
	if (made->flags & FLOW_TUNNEL)
		return connection->destination_port == bpf_htons(TUNNEL_PORT_OUTBOUND) &&
		       is_loopback(connection->destination);
	return made->destination_port == connection->destination_port &&
	       same_address(made->destination, connection->destination);
}

/* Reads what this socket's connect() to this destination left. */
static __always_inline int pending_read(const struct pending *from, __u64 cookie,
					const struct flow_key *connection,
					struct pending *taken)
{
	copy_words(taken, from, PENDING_WORDS + 1);
	return taken->cookie == cookie &&
	       taken->check == check_words(0, taken, PENDING_WORDS) &&
	       pending_fits(taken, connection);
}

/*
 * Takes it. It stays where it is: during an upgrade the old and the new sockops program
 * run one after the other for the same SYN.
 */
static __always_inline int pending_take(__u64 cookie, const struct flow_key *connection,
					struct pending *taken)
{
	struct pending_slot *slot = pending_slot_of(cookie);
	struct pending *aside;

	if (!slot)
		return 0;
	if (slot->made.cookie == cookie && slot->taken != cookie &&
	    pending_read(&slot->made, cookie, connection, taken)) {
		slot->taken = cookie;
		return 1;
	}
	aside = waiting.lookup(&cookie);
	return pending_read(aside ? aside : &slot->made, cookie, connection, taken);
}

#endif
