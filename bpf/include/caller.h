/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Who calls: an enrolled pod by its network namespace; else, in a namespace that
 * isn't enrolled, the nearest enrolled cgroup that the calling process is in.
 */
#ifndef TANDEM_CALLER_H
#define TANDEM_CALLER_H

#include "maps.h"
#include "net.h"

#define CGROUP_LEVELS 32

/* The levels of enrolled cgroups. None: processes that aren't enrolled cost no more. */
static __always_inline __u32 enrolled_levels(void)
{
	__u32 first = 0, *levels = member_levels.lookup(&first);

	return levels ? *levels : 0;
}

/* cgroup: which it is, for owners. */
static __always_inline struct pod *member(__u32 levels, __u64 *cgroup)
{
	for (int level = CGROUP_LEVELS - 1; level >= 0; level--) {
		struct pod *pod;

		if (!(levels >> level & 1))
			continue;
		*cgroup = bpf_get_current_ancestor_cgroup_id(level);
		pod = *cgroup ? members.lookup(cgroup) : 0;
		if (pod)
			return pod;
	}
	return 0;
}

/*
 * The SYN may leave where no process can be asked for its cgroup. So the socket
 * itself carries it from connect() on, and each connect() says it anew: nothing that
 * another socket does, nor another process with this one, can lend it an identity.
 * Without memory for it, the connection is nobody's.
 */
static __always_inline void own(struct bpf_sock_addr *ctx, __u64 cgroup)
{
	struct bpf_sock *sk = ctx->sk;
	__u64 *owner;

	if (!sk)
		return;
	if (!cgroup) {
		owners.sk_storage_delete(sk);
		return;
	}
	owner = owners.sk_storage_get(sk, &cgroup, BPF_SK_STORAGE_GET_F_CREATE);
	if (owner)
		*owner = cgroup;
}

/* Who calls connect() or sendmsg(); returns whether it is of the mesh. */
static __always_inline int caller(struct bpf_sock_addr *ctx, struct pod *who)
{
	__u64 netns = bpf_get_netns_cookie(ctx), cgroup = 0;
	struct pod *pod = pods.lookup(&netns);
	__u32 levels;

	if (pod) {
		*who = *pod;
		return 1;
	}
	levels = enrolled_levels();
	if (!levels)
		return 0;
	pod = member(levels, &cgroup);
	if (!is_udp(ctx))
		own(ctx, pod ? cgroup : 0);
	if (!pod)
		return 0;
	*who = *pod;
	return 1;
}

/* Whose socket is about to send its SYN; 0: nobody's of the mesh. */
static __always_inline struct pod *caller_of_syn(struct bpf_sock_ops *ctx, __u64 netns)
{
	struct pod *pod = pods.lookup(&netns);
	struct bpf_sock *sk = socket_of(ctx);
	__u64 *owner, cgroup;

	if (pod || !enrolled_levels() || !sk)
		return pod;
	owner = owners.sk_storage_get(sk, 0, 0);
	if (!owner)
		return 0;
	cgroup = *owner;
	owners.sk_storage_delete(sk);
	return members.lookup(&cgroup);
}

#endif
