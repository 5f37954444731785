/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Authorization at the SYN: a policy set as bit vectors (see abi.h, struct chunk).
 *
 * What a set doesn't hold is refused: a missing chunk, an identity that user space
 * hasn't compiled yet. Old sets are deleted only after a grace period, so that a
 * program that still has the old number finds the whole of it.
 */
#ifndef TANDEM_AUTHZ_H
#define TANDEM_AUTHZ_H

#include "flows.h"
#include "telemetry.h"

#define RULE_WORDS (RULE_INDEX_COUNT / 64)

/* A connection as the policies see it. */
struct arrival {
	struct flow_key *key;
	__u64 identity; /* 0: unauthenticated */
	__u32 flags;
};

static __always_inline void arrival_read(struct arrival *arrival, struct flow_key *key)
{
	struct flow_slot *slot;
	struct narrowed *scratch;
	__u32 only = 0;

	arrival->key = key;
	arrival->identity = 0;
	arrival->flags = 0;
	scratch = narrowing.lookup(&only);
	slot = flow_slot(key);
	if (!scratch || !slot || !flow_copy(slot, key, &scratch->flow))
		return;
	arrival->identity = scratch->flow.identity;
	arrival->flags = scratch->flow.flags;
}

static __always_inline void count_hit(__u32 chunk, __u32 rule, enum verdict verdict)
{
	struct hit hit = {.chunk = chunk, .rule = rule, .verdict = verdict};
	__u64 *times = hits.lookup(&hit);
	__u64 once = 1;

	/* Another CPU may have added the entry just now; then this one's is 0. */
	if (!times && hits.insert(&hit, &once)) {
		times = hits.lookup(&hit);
		if (!times)
			count(COUNTER_HITS_LOST);
	}
	if (times)
		*times += 1;
}

/* The number of the lowest bit; word isn't 0. */
static __always_inline __u32 lowest_bit(__u64 word)
{
	__u32 bit = 0;

#pragma unroll
	for (int step = 32; step; step >>= 1) {
		if (!(word << (64 - step))) {
			word >>= step;
			bit += step;
		}
	}
	return bit;
}

/*
 * Does something for each word of a chunk in use: the first, the first four, or all
 * of them. Few branches, for the verifier walks each one in each chunk.
 */
#define FOR_WORDS(chunk, word, body)                                                     \
	do {                                                                             \
		int word = 0;                                                            \
		body;                                                                    \
		if ((chunk)->words > 1) {                                                \
			_Pragma("unroll") for (word = 1; word < 4; word++) body;         \
		}                                                                        \
		if ((chunk)->words > 4) {                                                \
			_Pragma("unroll") for (word = 4; word < RULE_WORDS; word++)      \
				body;                                                    \
		}                                                                        \
	} while (0)

static __always_inline void narrow(__u64 *rules, const struct chunk *chunk,
				   const __u8 *satisfied)
{
	FOR_WORDS(chunk, word, rules[word] &= ((const word64 *)satisfied)[word]);
}

/*
 * The rules of a chunk that a connection satisfies: returns 0, or why it has to be
 * refused. Each property narrows them in turn, so that the verifier has one state
 * after each, not one for each way to come there.
 */
static __always_inline enum verdict rules_satisfied(struct narrowed *scratch,
						    const struct chunk *chunk,
						    __u32 number,
						    const struct arrival *arrival)
{
	__u64 *rules = scratch->rules;
	struct rules *found;

	/* All words, so that none is unknown to the verifier in some states only. */
#pragma unroll
	for (int word = 0; word < RULE_WORDS; word++)
		rules[word] = ((const word64 *)chunk->used)[word];
	if (chunk->flags & CHUNK_IDENTITIES) {
		struct identity_rules_key key = {.chunk = number,
						 .identity = arrival->identity};

		found = chunk_identities.lookup(&key);
		if (!found)
			return VERDICT_UNKNOWN_IDENTITY;
		narrow(rules, chunk, found->bits);
	}
	if (chunk->flags & CHUNK_SOURCES) {
		struct range_rules_key *key = &scratch->range;

		key->prefix = 32 + 128;
		key->chunk = number;
		copy_address(key->address, arrival->key->source);
		found = chunk_sources.lookup(key);
		if (!found)
			return VERDICT_UNKNOWN_POLICY;
		narrow(rules, chunk, found->bits);
	}
	if (chunk->flags & CHUNK_DESTINATIONS) {
		struct range_rules_key *key = &scratch->range;

		key->prefix = 32 + 128;
		key->chunk = number;
		copy_address(key->address, arrival->key->destination);
		found = chunk_destinations.lookup(key);
		if (!found)
			return VERDICT_UNKNOWN_POLICY;
		narrow(rules, chunk, found->bits);
	}
	if (chunk->flags & CHUNK_PORTS) {
		struct port_rules_key key = {.chunk = number,
					     .port = arrival->key->destination_port};

		found = chunk_ports.lookup(&key);
		narrow(rules, chunk, found ? found->bits : chunk->other_ports);
	}
	return 0;
}

/*
 * The first rule of some kind that a connection satisfies, where it is known that
 * the chunk has one. verdict: what it was that was found.
 */
static __always_inline __u32 rule_find(struct narrowed *scratch, __u32 number,
				       const struct arrival *arrival,
				       enum verdict verdict)
{
	struct chunk *chunk = chunks.lookup(&number);

	__u64 *rules = scratch->rules;

	if (!chunk || rules_satisfied(scratch, chunk, number, arrival))
		return RULE_INDEX_NONE;
	if (verdict == VERDICT_DENIED)
		narrow(rules, chunk, chunk->deny);
	else if (verdict == VERDICT_DRY_DENIED)
		narrow(rules, chunk, chunk->dry_deny);
	else
		narrow(rules, chunk, chunk->dry_allow);
#pragma unroll
	for (int word = 0; word < RULE_WORDS; word++)
		if (rules[word])
			return word * 64 + lowest_bit(rules[word]);
	return RULE_INDEX_NONE;
}

/* What policies that are dry run would say is counted; denied, allowed: bits of chunks.
 */
static __always_inline void count_trial(struct narrowed *scratch,
					const struct arrival *arrival, __u32 policy,
					__u32 flags, __u64 denied, __u64 allowed)
{
	enum verdict verdict = denied ? VERDICT_DRY_DENIED : VERDICT_DRY_ALLOWED;
	__u32 number = policy, rule = RULE_INDEX_NONE;

	if (denied | allowed) {
		number += lowest_bit(denied ? denied : allowed);
		rule = rule_find(scratch, number, arrival, verdict);
	} else if (flags & CHUNK_DRY_ALLOWS) {
		verdict = VERDICT_DRY_NOT_ALLOWED;
	} else {
		return;
	}
	count_hit(number, rule, verdict);
}

/* One bit of a set of chunks, without a branch that the verifier would have to walk. */
static __always_inline __u64 chunk_bit(__u64 rules, int index)
{
	__u64 sign = rules | -rules;

	asm volatile("" : "+r"(sign));
	return (sign >> 63) << index;
}

/* What was decided about a connection, and by what. verdict 0: it passes. */
struct ruling {
	__u32 chunk;
	__u32 rule;
	enum verdict verdict;
};

/* What the policy set of a guard says. */
static __always_inline void judge(const struct arrival *arrival, __u32 policy,
				  struct ruling *ruling)
{
	__u64 denied = 0, allowed = 0, dry_denied = 0, dry_allowed = 0;
	__u32 flags = 0, only = 0;
	struct narrowed *scratch = narrowing.lookup(&only);

	ruling->chunk = policy;
	ruling->verdict = VERDICT_UNKNOWN_POLICY;
	if (!scratch)
		return;
	for (int index = 0; index < MAX_SET_CHUNKS; index++) {
		__u64 denying = 0, allowing = 0, dry_denying = 0, dry_allowing = 0;
		__u64 *rules = scratch->rules;
		__u32 number = policy + index;
		struct chunk *chunk = chunks.lookup(&number);
		enum verdict missing;

		if (!chunk)
			return;
		missing = rules_satisfied(scratch, chunk, number, arrival);
		if (missing) {
			ruling->verdict = missing;
			return;
		}
		FOR_WORDS(chunk, word, {
			denying |= rules[word] & ((const word64 *)chunk->deny)[word];
			allowing |= rules[word] & ((const word64 *)chunk->allow)[word];
			dry_denying |=
				rules[word] & ((const word64 *)chunk->dry_deny)[word];
			dry_allowing |=
				rules[word] & ((const word64 *)chunk->dry_allow)[word];
		});
		denied |= chunk_bit(denying, index);
		allowed |= allowing;
		dry_denied |= chunk_bit(dry_denying, index);
		dry_allowed |= chunk_bit(dry_allowing, index);
		flags = chunk->flags;
		if (!(flags & CHUNK_MORE))
			break;
	}
	if (flags & CHUNK_DRY)
		count_trial(scratch, arrival, policy, flags, dry_denied, dry_allowed);
	if (denied) {
		ruling->chunk = policy + lowest_bit(denied);
		ruling->rule = rule_find(scratch, ruling->chunk, arrival, VERDICT_DENIED);
		ruling->verdict = VERDICT_DENIED;
		return;
	}
	ruling->verdict = (flags & CHUNK_ALLOWS) && !allowed ? VERDICT_NOT_ALLOWED : 0;
}

/* May a TCP connection arrive? guard: as copied, or one that says to refuse. */
static __always_inline int may_arrive(struct flow_key *key, const struct guard *guard)
{
	struct ruling ruling = {.rule = RULE_INDEX_NONE};
	struct flow_slot *slot;
	struct arrival arrival;
	int known = !guard->flags;

	/* Port 0 is where refused connects are sent: nobody listens there. */
	if (key->destination_port == 0)
		return 1;
	if (known && guard->policy == 0 && guard->identity_port != key->destination_port)
		return 1;
	arrival_read(&arrival, key);
	/* The daemon asked the policies, before it connected. */
	if (arrival.flags & FLOW_TUNNELLED)
		return 1;
	if (known && guard->identity_port == key->destination_port) {
		if (arrival.flags & FLOW_WAYPOINT)
			return 1;
		count(COUNTER_REFUSED_UNPROVEN);
		ruling.verdict = VERDICT_UNPROVEN;
	} else if (arrival.flags & FLOW_PROBE) {
		return 1;
	} else if (!known) {
		count(COUNTER_REFUSED_UNGUARDED);
		ruling.verdict = VERDICT_UNGUARDED;
	} else {
		judge(&arrival, guard->policy, &ruling);
		if (!ruling.verdict)
			return 1;
		count_hit(ruling.chunk, ruling.rule, ruling.verdict);
	}
	slot = flow_slot(key);
	event_denied(key, slot ? flow_find(slot, key) : 0, guard, ruling.chunk,
		     ruling.rule, ruling.verdict);
	return 0;
}

#endif
