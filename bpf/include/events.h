/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Events: one record for each connection that ended, failed, was refused or denied,
 * for the access log. Whoever reads them polls, so nobody is woken up; and what a log
 * won't print isn't made in the first place: each class has a number of events a
 * window, on each CPU, so that one can't crowd out another.
 */
#ifndef TANDEM_EVENTS_H
#define TANDEM_EVENTS_H

#include "counters.h"
#include "maps.h"
#include "net.h"

#define EVENT_WINDOW_SHIFT 27

static __always_inline int event_allowed(__u32 class)
{
	struct event_limit *limit = limits.lookup(&class);
	__u64 window;

	if (!limit)
		return 0;
	window = bpf_ktime_get_coarse_ns() >> EVENT_WINDOW_SHIFT;
	if (limit->window != window) {
		limit->window = window;
		limit->used = 0;
	}
	if (limit->used >= limit->most) {
		limit->suppressed += 1;
		return 0;
	}
	limit->used += 1;
	return 1;
}

/* An event with nothing but its kind filled in, or none where it has no place. */
static __always_inline struct event *event_begin(__u32 class, __u32 kind, __u32 reason)
{
	struct event *made;

	if (!event_allowed(class))
		return 0;
	made = events.ringbuf_reserve(sizeof(*made));
	if (!made) {
		count(COUNTER_EVENT_LOST);
		return 0;
	}
	__builtin_memset(made, 0, sizeof(*made));
	made->kind = kind;
	made->reason = reason;
	made->ended = bpf_ktime_get_ns();
	return made;
}

static __always_inline void event_tuple(struct event *made, const struct flow_key *key)
{
	copy_address(made->source_address, key->source);
	copy_address(made->destination_address, key->destination);
	copy_address(made->original, key->destination);
	made->source_port = key->source_port;
	made->destination_port = key->destination_port;
	made->original_port = key->destination_port;
}

static __always_inline void event_flow(struct event *made, const struct flow *flow)
{
	made->source = flow->source;
	made->target = flow->target;
	made->destination = flow->destination;
	made->identity = flow->identity;
	copy_address(made->original, flow->original);
	made->original_port = flow->original_port;
	made->flags = flow->flags;
	made->started = flow->started;
	made->established = flow->established;
}

static __always_inline void event_end(struct event *made)
{
	events.ringbuf_submit(made, BPF_RB_NO_WAKEUP);
}

#endif
