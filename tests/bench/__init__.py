"""Benchmarks: what the mesh costs beside no mesh, in the same run.

Two shared cores make absolute figures unstable, so every case runs its contenders
in turn, round by round, and the ratio of medians is what counts. CPU time is the
machine's busy time per operation: client, kernel and server together.
"""
