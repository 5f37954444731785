/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The hand-over from connect() to the SYN. An array of slots costs a tenth of
 * socket storage. A slot is taken only if it is whole (its check word agrees), of
 * this very socket (cookie) and of this very connect (destination): one that
 * another socket overwrote, or half overwrote on another CPU, is lost, never
 * mistaken. The check depends on each word's place, so that no exchange of words
 * between two slots adds up.
 */
#ifndef TANDEM_PENDING_H
#define TANDEM_PENDING_H

#include "maps.h"
#include "net.h"

#define PENDING_WORDS (sizeof(struct pending) / 8 - 1)

static __always_inline __u64 pending_check(const struct pending *slot)
{
	const word64 *words = (const word64 *)slot;
	__u64 check = 0;

#pragma unroll
	for (int i = 0; i < PENDING_WORDS; i++)
		check = (check ^ words[i]) * 0x9E3779B97F4A7C15ull;
	return check;
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

	if (!slot)
		return;
#pragma unroll
	for (int i = 0; i < PENDING_WORDS; i++)
		((volatile word64 *)slot)[i] = from[i];
	asm volatile("" ::: "memory");
	slot->check = pending_check(made);
}

/* Whether this socket's connect() to this destination left a slot; takes it. */
static __always_inline int pending_take(__u64 cookie, const struct flow_key *connection,
					struct pending *taken)
{
	struct pending *slot = pending_slot(cookie);

	if (!slot || slot->cookie != cookie)
		return 0;
#pragma unroll
	for (int i = 0; i <= PENDING_WORDS; i++)
		((word64 *)taken)[i] = ((volatile word64 *)slot)[i];
	slot->cookie = 0;
	return taken->cookie == cookie && taken->check == pending_check(taken) &&
	       taken->destination_port == connection->destination_port &&
	       same_address(taken->destination, connection->destination);
}

#endif
