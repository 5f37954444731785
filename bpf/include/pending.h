/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The hand-over from connect() to the SYN. An array of slots costs a tenth of
 * socket storage. A slot is taken only if it is whole (its check word agrees), of
 * this very socket (cookie) and of this very connect (destination, or to the daemon):
 * one that
 * another socket overwrote, or half overwrote on another CPU, is lost, never
 * mistaken.
 *
 * With TCP Fast Open, connect() may return long before its SYN leaves with the first
 * data. A slot that somebody still waits for is set aside when another socket needs
 * it: connects whose SYN follows at once never see that.
 */
#ifndef TANDEM_PENDING_H
#define TANDEM_PENDING_H

#include "maps.h"
#include "net.h"

#define PENDING_WORDS (sizeof(struct pending) / 8 - 2)

static __always_inline __u64 pending_check(const struct pending *slot)
{
	return check_words(0, slot, PENDING_WORDS);
}

static __always_inline struct pending *pending_slot(__u64 cookie)
{
	__u32 index = cookie & (MAX_PENDING - 1);

	return pending.lookup(&index);
}

static __always_inline void pending_put(const struct pending *made)
{
	struct pending *slot = pending_slot(made->cookie);
	const word64 *from = (const word64 *)made;
	__u64 held;

	if (!slot)
		return;
	held = *(volatile word64 *)&slot->cookie;
	if (held && held != made->cookie && !slot->taken)
		waiting.update(&held, slot);
	slot->taken = 0;
#pragma unroll
	for (int i = 0; i < PENDING_WORDS; i++)
		((volatile word64 *)slot)[i] = from[i];
	asm volatile("" ::: "memory");
	slot->check = pending_check(made);
}

/* Whether a slot is of a connect() that became this connection. */
static __always_inline int pending_fits(const struct pending *slot,
					const struct flow_key *connection)
{
	if (slot->flags & FLOW_TUNNEL)
		return connection->destination_port == bpf_htons(TUNNEL_PORT_OUTBOUND) &&
		       is_loopback(connection->destination);
	return slot->destination_port == connection->destination_port &&
	       same_address(slot->destination, connection->destination);
}

/*
 * Whether this socket's connect() to this destination left a slot; takes it. During an
 * upgrade the old and the new sockops program run one after the other for the same
 * SYN, so a slot can be had twice.
 */
static __always_inline int pending_take(__u64 cookie, const struct flow_key *connection,
					struct pending *taken)
{
	struct pending *slot = pending_slot(cookie);
	int set_aside = 0, taken_before;

	if (!slot)
		return 0;
	if (slot->cookie != cookie) {
		slot = waiting.lookup(&cookie);
		if (!slot)
			return 0;
		set_aside = 1;
	}
#pragma unroll
	for (int i = 0; i <= PENDING_WORDS; i++)
		((word64 *)taken)[i] = ((volatile word64 *)slot)[i];
	taken_before = slot->taken != 0;
	if (taken_before)
		slot->cookie = 0;
	slot->taken = 1;
	if (set_aside && taken_before)
		waiting.delete(&cookie);
	return taken->cookie == cookie && taken->check == pending_check(taken) &&
	       pending_fits(taken, connection);
}

#endif
