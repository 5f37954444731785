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

static __always_inline void copy_address(__u8 *to, const __u8 *from)
{
	((word64 *)to)[0] = ((const word64 *)from)[0];
	((word64 *)to)[1] = ((const word64 *)from)[1];
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

/* 127.0.0.0/8 or ::1. */
static __always_inline int is_loopback(const __u8 *address)
{
	if (family_of(address) == FAMILY_IPV4)
		return (bpf_ntohl(get_ipv4(address)) >> 24) == 127;
	return ((const word64 *)address)[0] == 0 && ((const word32 *)address)[2] == 0 &&
	       ((const word32 *)address)[3] == bpf_htonl(1);
}

#endif
