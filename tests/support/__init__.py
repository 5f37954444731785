"""What tests and `make check` share.

netns      real network namespaces joined by veth pairs, gone at the end
generated  regenerates checked-in code; fails when it is not current
mirrors    holds tests/ to the shape of the source folders
mesh       a mesh as a user runs it
nobody     running something without privileges
lock       writes the lock files
"""
