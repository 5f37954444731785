/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Acceleration: what one end of a connection sends goes straight to the other end's
 * queue, past TCP, where both are on this node and ask for it.
 *
 * The receiver reads that queue first, and TCP's when it is empty. So nothing is
 * ever out of order as long as a direction passes over once, from the queue to TCP:
 * it is redirected only while its sender's TCP has never carried a byte, which TCP's
 * own write_seq tells, whatever moved it: a Fast Open SYN, a send() that began before
 * its socket was in the map, a shutdown().
 *
 * Nothing in the kernel bounds the queue. What may lie unread there has a budget,
 * renewed when the receiver sends and has read everything, which its queue tells:
 * that it answers isn't enough, for it may talk and not listen. Past the budget the
 * direction is TCP's for good, with TCP's own limit.
 *
 * The kernel has no helper for either: both are read at offsets that the loader
 * finds in the kernel's BTF. Without BTF there is no acceleration.
 */
#ifndef TANDEM_ACCELERATE_H
#define TANDEM_ACCELERATE_H

#include "counters.h"
#include "flows.h"
#include "maps.h"

/* The kernel's record of a message in a queue, besides its bytes. */
#define MESSAGE_COST 1024

/* O_NONBLOCK of Linux on x86-64 and arm64. */
#define NONBLOCKING 04000

#ifdef TCP_WRITE_SEQ

/* bpf_probe_read_kernel() takes any number; this makes one of a pointer. */
static __always_inline __u64 as_number(void *pointer)
{
	__u64 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &pointer);
	return number;
}

static __always_inline __u64 word_at(__u64 place)
{
	__u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)place);
	return word;
}

static __always_inline __u32 write_seq_of(__u64 sk)
{
	return word_at(sk + TCP_WRITE_SEQ);
}

/* Whether a sender may wait to be told that its pages were sent: TCP does, only. */
static __always_inline int sends_zero_copy(__u64 sk)
{
	return word_at(sk + SOCK_FLAGS) >> SOCK_FLAG_ZEROCOPY & 1;
}

/*
 * Whether a program's calls on its socket may sleep. A reader that sleeps on a socket
 * of the map is told EAGAIN by a signal, a reset, or room to send.
 */
static __always_inline int may_sleep(__u64 sk)
{
	__u64 file = word_at(word_at(sk + SOCK_SOCKET) + SOCKET_FILE);

	return !((__u32)word_at(file + FILE_FLAGS) & NONBLOCKING);
}

/* Whether a socket of the map has nothing left in the queue past TCP. */
static __always_inline int has_read_all(__u64 sk)
{
	__u64 psock = word_at(sk + SOCK_USER_DATA) & ~7ull; /* the low bits are flags */
	__u64 head = psock + PSOCK_INGRESS_MSG;

	return word_at(head) == head;
}

/*
 * Puts an end in the map; returns whether it is there. A socket that has sent by TCP
 * already stays out, and so does one whose first bytes went with its SYN.
 */
static __always_inline int accelerate_end(struct bpf_sock_ops *ctx, struct socket_key *at,
					  struct accelerated *state)
{
	struct bpf_sock *sk = socket_of(ctx);
	int refused;
	__u32 seq;

	if (!sk)
		return 0;
	seq = write_seq_of(as_number(sk));
	if (ctx->data_segs_out || seq != ctx->snd_nxt)
		return 0;
	state->ends[at->end & 1].write_seq = seq;
	/* BCC ends what it makes of this with a semicolon. */
	refused = sockets.sock_hash_update(ctx, at, BPF_ANY);
	if (refused) {
		count(COUNTER_ACCELERATE_FULL);
		return 0;
	}
	return 1;
}

/* A client is connected. own: its connection, as it names it. */
static __always_inline void accelerate_client(struct bpf_sock_ops *ctx,
					      const struct flow_key *own)
{
	struct accelerated *state, made = {};
	struct socket_key at = {.pair = *own};
	struct bpf_sock *sk = socket_of(ctx);

	if (!sk || may_sleep(as_number(sk)))
		return;
	at.end = order_pair(&at.pair);
	if (accelerated.update(&at.pair, &made)) {
		count(COUNTER_ACCELERATE_FULL);
		return;
	}
	state = accelerated.lookup(&at.pair);
	if (state && !accelerate_end(ctx, &at, state))
		accelerated.delete(&at.pair);
}

/* A server has accepted what a client that is in the map sent. */
static __always_inline void accelerate_server(struct bpf_sock_ops *ctx,
					      const struct flow_key *clients)
{
	struct socket_key at = {.pair = *clients};
	struct accelerated *state;

	at.end = !order_pair(&at.pair);
	state = accelerated.lookup(&at.pair);
	if (state && accelerate_end(ctx, &at, state))
		count(COUNTER_ACCELERATED);
}

/* Whether a direction may go on past TCP with one more message. */
static __always_inline int may_go_on(const struct accelerated_end *mine, __u64 sk,
				     __u64 cost)
{
	return write_seq_of(sk) == mine->write_seq && !sends_zero_copy(sk) &&
	       mine->sent_cost + cost - mine->read_cost <= MAX_UNREAD;
}

/*
 * Sends a message past TCP, if it may go there. own: the connection as its sender
 * names it; what is left of it is the key of the other end's socket.
 */
static __always_inline void accelerate_message(struct sk_msg_md *ctx,
					       struct socket_key *own)
{
	__u64 end = order_pair(&own->pair), sk = as_number(ctx->sk), cost, sent;
	struct accelerated *state = accelerated.lookup(&own->pair);
	struct accelerated_end *mine, *other;
	int verdict;

	if (!state)
		return;
	mine = &state->ends[end & 1];
	own->end = !end;
	other = &state->ends[own->end & 1];

	/* In this order: what is queued after the look isn't counted as read. */
	sent = *(volatile __u64 *)&other->sent_cost;
	if (sent != other->read_cost && has_read_all(sk))
		other->read_cost = sent;

	if (mine->passed_on)
		return;
	cost = ctx->size + MESSAGE_COST;
	if (may_go_on(mine, sk, cost)) {
		verdict = sockets.msg_redirect_hash(ctx, own, BPF_F_INGRESS);
		if (verdict == SK_PASS) {
			mine->sent_cost += cost;
			mine->sent += ctx->size;
			return;
		}
		/* The other end isn't in the map yet, or not any more. */
	}
	mine->passed_on = 1;
}

#else

static __always_inline void accelerate_client(struct bpf_sock_ops *ctx,
					      const struct flow_key *own)
{
}

static __always_inline void accelerate_server(struct bpf_sock_ops *ctx,
					      const struct flow_key *clients)
{
}

static __always_inline void accelerate_message(struct sk_msg_md *ctx,
					       struct socket_key *own)
{
}

#endif

/*
 * A client's connection is over. sent, received: the bytes that TCP's own counters
 * missed, as the client sees them. The entry goes with the flow.
 */
static __always_inline void accelerate_sums(const struct flow_key *own, __u64 *sent,
					    __u64 *received)
{
	struct flow_key pair = *own;
	__u64 end = order_pair(&pair);
	struct accelerated *state = accelerated.lookup(&pair);

	*sent = *received = 0;
	if (!state)
		return;
	*sent = state->ends[end & 1].sent;
	*received = state->ends[(end ^ 1) & 1].sent;
}

#endif
