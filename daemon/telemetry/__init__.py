"""What happened on this node: metrics, and the access log.

The kernel sums every connection under (source, target, destination); this package
puts names to the hashes, at its leisure, and reads a ring for the log's lines.

names       what the kernel's hashes mean, also for a while after it is gone
labels      Istio's labels for one key of the kernel's, as each reporter sees it
ledger      what was counted under each set of labels: never goes back
open_flows  connections that are open: bytes so far, and flows left without a socket
families    the ledger and everything else that is counted, as Prometheus families
tunnels     what HBONE carries: neither the kernel's sums nor its ring have it
access_log  ztunnel's line for one event
budget      how many lines there may be in a second
log_task    reads events, writes lines
collector   brings the ledger up to date, now and then and at a scrape
telemetry   all of it, for the composition root

live        of a connection that is still open
reporter    whose point of view a series is: the source's or the destination's
"""
