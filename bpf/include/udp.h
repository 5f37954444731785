/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Whose answer a datagram is. Datagrams go to an endpoint as they are, so what comes
 * back names the endpoint, and its socket must be told the virtual address that it
 * asked: kept by socket and endpoint.
 *
 * One socket may ask two virtual addresses that share an endpoint, and nothing in an
 * answer tells them apart. balance.h avoids that while the set has another endpoint.
 * Where it has none, answers are seen as coming from the address that was asked last.
 */
#ifndef TANDEM_UDP_H
#define TANDEM_UDP_H

#include "maps.h"
#include "net.h"

/*
 * Where datagrams go that nobody may get: a privileged port of the socket's own host
 * where nobody listens (port 0 would be EINVAL in sendmsg). The kernel answers with
 * ICMP's "port unreachable", as a closed port does: ECONNREFUSED for who asks for it.
 */
#define REFUSAL_PORT bpf_htons(1)

#define REPLY_WORDS (__builtin_offsetof(struct reply, check) / 8)

static __always_inline void reply_place(struct reply_key *key, __u64 cookie,
					const __u8 *address, __be16 port)
{
	*key = (struct reply_key){};
	key->cookie = cookie;
	copy_address(key->address, address);
	key->port = port;
}

static __always_inline __u64 reply_check(const struct reply_key *key,
					 const struct reply *reply)
{
	return check_words(check_words(0, key, sizeof(*key) / 8), reply, REPLY_WORDS);
}

/* What a socket called that this peer answers for; returns whether there is any. */
static __always_inline int reply_take(__u64 cookie, const __u8 *address, __be16 port,
				      struct reply *reply)
{
	struct reply_key key;
	struct reply *found;

	reply_place(&key, cookie, address, port);
	found = replies.lookup(&key);
	if (!found)
		return 0;
	copy_words(reply, found, sizeof(*reply) / 8);
	/* Not so if the entry's memory came to hold another's just now. */
	return reply->check == reply_check(&key, reply);
}

static __always_inline int reply_is_anothers(__u64 cookie, const struct endpoint *to,
					     const struct endpoint *called)
{
	struct reply reply;

	return reply_take(cookie, to->address, to->port, &reply) &&
	       (reply.port != called->port ||
		!same_address(reply.address, called->address));
}

/* Answers of this peer are from what was called; costs a lookup if they were. */
static __always_inline void reply_put(__u64 cookie, const struct endpoint *to,
				      const struct endpoint *called)
{
	struct reply_key key;
	struct reply made = {}, *found;

	reply_place(&key, cookie, to->address, to->port);
	copy_address(made.address, called->address);
	made.port = called->port;
	made.check = reply_check(&key, &made);
	found = replies.lookup(&key);
	if (!found || found->check != made.check)
		replies.update(&key, &made);
}

/* peer: whom a datagram is from; replaced by what its socket called, if it did. */
static __always_inline int answered(struct bpf_sock_addr *ctx, struct endpoint *peer)
{
	struct reply reply;

	if (!reply_take(bpf_get_socket_cookie(ctx), peer->address, peer->port, &reply))
		return 0;
	copy_address(peer->address, reply.address);
	peer->port = reply.port;
	return 1;
}

#endif
