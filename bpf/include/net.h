/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Addresses of 16 bytes, IPv4 as v4-mapped, handled as words. */
#ifndef TANDEM_NET_H
#define TANDEM_NET_H

#include "abi.h"

/* Addresses lie at multiples of 8 in every struct of abi.h and maps.h. */
typedef __u64 __attribute__((may_alias)) word64;
typedef __u32 __attribute__((may_alias)) word32;

#define MAPPED_PREFIX bpf_htonl(0x0000ffff)

#ifndef AF_INET
#define AF_INET 2
#endif

/*
 * A context field, in a register of its own. Where a program chooses between two
 * fields, the compiler would rather choose between two pointers into the context,
 * which the verifier refuses ("dereference of modified ctx ptr").
 */
static __always_inline __u32 loaded(__u32 field)
{
	asm volatile("" : "+r"(field));
	return field;
}

/* The socket, for the same reason: never by way of a pointer to the field. */
static __always_inline struct bpf_sock *socket_of(struct bpf_sock_ops *ctx)
{
	asm volatile("" : "+r"(ctx));
	return ctx->sk;
}

/* The multiplier of ztunnel_compat/names.py. */
#define PORT_MULTIPLIER 0x9E3779B97F4A7C15ull

/*
 * The same number, of which the verifier knows nothing. A branch on it teaches the
 * verifier nothing about the number that it was made from: else, where ways meet that
 * know different things, it goes through all that follows once for each.
 */
static __always_inline __u32 blurred(struct bpf_sock_addr *ctx, __u32 number)
{
	__u32 unknown = ctx->type;

	asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+r"(number) : "r"(unknown));
	return number;
}

/* Read anew each time, for the same reason. */
static __always_inline int is_udp(struct bpf_sock_addr *ctx)
{
	return *(volatile __u32 *)&ctx->protocol == TRANSPORT_UDP;
}

/*
 * A check word that goes on from another. It depends on each word's place, so that
 * no exchange of words between two values adds up.
 */
static __always_inline __u64 check_words(__u64 check, const void *from, int words)
{
#pragma unroll
	for (int i = 0; i < words; i++)
		check = (check ^ ((const word64 *)from)[i]) * 0x9E3779B97F4A7C15ull;
	return check;
}

/*
 * One of those who try at once gets what the counter stands for, or none does. Whoever
 * reads 1 after adding 1 is alone, whatever the order of memory: a counter has one
 * history. That is all it says: on arm64, what the one before wrote may be seen later.
 * Atomic operations that return what was there are newer than Linux 5.15 there.
 */
static __always_inline int claim(__u32 *counter)
{
	__sync_fetch_and_add(counter, 1);
	asm volatile("" ::: "memory");
	if (*(volatile word32 *)counter == 1)
		return 1;
	__sync_fetch_and_add(counter, -1);
	return 0;
}

static __always_inline void unclaim(__u32 *counter)
{
	asm volatile("" ::: "memory");
	__sync_fetch_and_add(counter, -1);
}

static __always_inline void copy_words(void *to, const void *from, int words)
{
#pragma unroll
	for (int i = 0; i < words; i++)
		((word64 *)to)[i] = ((const volatile word64 *)from)[i];
}

/*
 * Whether a socket is a stream's. One of MPTCP shows the addresses of the first TCP
 * connection that it is made of, which alone goes through the hooks of connect().
 */
static __always_inline int is_stream(__u32 protocol)
{
	return protocol == TRANSPORT_TCP || protocol == TRANSPORT_MPTCP;
}

static __always_inline void copy_address(__u8 *to, const __u8 *from)
{
	((word64 *)to)[0] = ((const word64 *)from)[0];
	((word64 *)to)[1] = ((const word64 *)from)[1];
}

/* Where alone: the compiler copies a whole struct in pieces of two bytes. */
static __always_inline void copy_place(struct endpoint *to, const struct endpoint *from)
{
	copy_address(to->address, from->address);
	to->port = from->port;
}

static __always_inline int same_address(const __u8 *left, const __u8 *right)
{
	return ((const word64 *)left)[0] == ((const word64 *)right)[0] &&
	       ((const word64 *)left)[1] == ((const word64 *)right)[1];
}

static __always_inline void set_ipv4(__u8 *address, __u32 ip4)
{
	((word64 *)address)[0] = 0;
	((word32 *)address)[2] = MAPPED_PREFIX;
	((word32 *)address)[3] = ip4;
}

static __always_inline __u32 get_ipv4(const __u8 *address)
{
	return ((const word32 *)address)[3];
}

static __always_inline void set_ipv6(__u8 *address, __u32 a, __u32 b, __u32 c, __u32 d)
{
	((word32 *)address)[0] = a;
	((word32 *)address)[1] = b;
	((word32 *)address)[2] = c;
	((word32 *)address)[3] = d;
}

static __always_inline __u8 family_of(const __u8 *address)
{
	return ((const word64 *)address)[0] == 0 &&
			       ((const word32 *)address)[2] == MAPPED_PREFIX
		       ? FAMILY_IPV4
		       : FAMILY_IPV6;
}

/*
 * The family of what an IPv6 hook was given, from loads of its own: else the branches
 * on it teach the verifier about the address, see blurred().
 */
static __always_inline __u8 read_family6(struct bpf_sock_addr *ctx)
{
	__u32 first = *(volatile __u32 *)&ctx->user_ip6[0];
	__u32 second = *(volatile __u32 *)&ctx->user_ip6[1];
	__u32 third = *(volatile __u32 *)&ctx->user_ip6[2];
	__u8 family =
		first | second | (third ^ MAPPED_PREFIX) ? FAMILY_IPV6 : FAMILY_IPV4;

	return blurred(ctx, family);
}

/* What a hook was given, or gives back: address and port of an endpoint. */
static __always_inline void read4(struct bpf_sock_addr *ctx, struct endpoint *to)
{
	set_ipv4(to->address, ctx->user_ip4);
	to->port = ctx->user_port;
}

static __always_inline void read6(struct bpf_sock_addr *ctx, struct endpoint *to)
{
	set_ipv6(to->address, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
		 ctx->user_ip6[3]);
	to->port = ctx->user_port;
}

static __always_inline void write4(struct bpf_sock_addr *ctx, const struct endpoint *from)
{
	ctx->user_ip4 = get_ipv4(from->address);
	ctx->user_port = from->port;
}

static __always_inline void write6(struct bpf_sock_addr *ctx, const struct endpoint *from)
{
	ctx->user_ip6[0] = ((const word32 *)from->address)[0];
	ctx->user_ip6[1] = ((const word32 *)from->address)[1];
	ctx->user_ip6[2] = ((const word32 *)from->address)[2];
	ctx->user_ip6[3] = ((const word32 *)from->address)[3];
	ctx->user_port = from->port;
}

/* 127.0.0.0/8 or ::1. */
static __always_inline int is_loopback(const __u8 *address)
{
	if (family_of(address) == FAMILY_IPV4)
		return (bpf_ntohl(get_ipv4(address)) >> 24) == 127;
	return ((const word64 *)address)[0] == 0 && ((const word32 *)address)[2] == 0 &&
	       ((const word32 *)address)[3] == bpf_htonl(1);
}

/* fe80::/10: the same on every link. */
static __always_inline int is_link_local(const __u8 *address)
{
	return (((const word32 *)address)[0] & bpf_htonl(0xffc00000)) ==
	       bpf_htonl(0xfe800000);
}

#endif
