"""The L4 engine: kernel programs, their loader, and typed access to their maps.

include/abi.h   what kernel and user space agree on; layout.py mirrors it
include/, src/  the programs: decisions in headers, hooks as adapters around them
headers/        what BCC needs in place of kernel headers

layout      structs and enums of abi.h (written by generate)
addresses   addresses as the maps hold them
knobs       sizes of the maps
maps        Table: one map, pinned in the kernel or in memory; Maps: all of them
loader      compile, pin and attach, or adopt what an earlier process left
compiler    the short-lived child in which BCC runs
links       a pod's sk_lookup link, one per network namespace
netns       netns cookies, and work inside another network namespace
probe       what this kernel lacks, by trying
kernel      bpf(2)

pin     a map, program or link named in bpffs: outlives the process that made it
adopt   go on with what is pinned: connections never notice a daemon's restart
"""
