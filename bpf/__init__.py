"""The L4 engine: kernel programs, their loader, and typed access to their maps.

include/abi.h   what kernel and user space agree on; layout.py mirrors it
include/, src/  the programs: decisions in headers, hooks as adapters around them
headers/        what BCC needs in place of kernel headers

layout      structs and enums of abi.h (written by generate)
addresses   addresses as the maps hold them
knobs       sizes of the maps
codecs      structs and numbers as the maps hold them
tables      Table: one hash map, pinned in the kernel or in memory; Entries: of it or of flows
flows       the connections that the programs know of, in their two maps as one table
maps        Maps: all of them
percpu      what the kernel counts and sums up per CPU
limits      how many events the kernel may make
marks       what the daemon says of its own sockets
ringbuf     events, read from mapped memory
loader      stage, commit, or adopt what an earlier process left
sources     the programs as one text for BCC, and the tables of what is in it
build       what tells one load from another: a hash per map, one of the programs
compiler    the short-lived child in which BCC runs; compile: who starts it
objects     what the compiler makes: instructions, and how the maps are to be
cache       compiled objects on disk, for the next start
install     objects verified by the kernel, and pinned
carry       flows carried over to maps of another layout
meta        the record of what is pinned
links       programs attached to cgroups and namespaces, replaced in one loop
btf         numbers of the kernel's own structs, from its type information
bpffs       where pins live; mounts: what is mounted where
netns       netns cookies, and work inside another network namespace
probe       what this kernel lacks, by trying
kernel      bpf(2); elements: the entries of maps by it

slot    a place in an array that many keys share; who is in it is checked
pin     a map, program or link named in bpffs: outlives the process that made it
adopt   go on with what is pinned: connections never notice a daemon's restart
"""
