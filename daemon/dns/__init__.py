"""DNS for enrolled pods, in place of the cluster DNS.

names        what a name may stand for, as search paths and wildcards have it
answers      a name's addresses, from the mesh's state
messages     DNS messages: what is asked, and answers as bytes
resolver     a message in, what to do with it out; remembers what it worked out
upstream     asks the cluster DNS what the mesh doesn't know
metrics      ztunnel's DNS counters, and what was refused for a bound
families     the same for Prometheus
sockets      the sockets inside a pod's network namespace
orphans      queries that were lost with a predecessor
endpoint     one pod's sockets at work: datagrams and connections
server       all pods of the node
nameservers  the map that tells the kernel whose traffic is ours

asker        the pod that asks: its namespace and network decide what it sees
alias        a name that the asked one may stand for
plan         what is done with a message: answer, forward, or reply with an error
upstream     the cluster DNS, which also serves pods while nobody listens here
"""
