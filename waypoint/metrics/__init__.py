"""What a waypoint counts, for Prometheus: Istio's families, and its own.

labels     Istio's labels for a request or a connection
book       numbers by their labels: bounded, and never going back
recorder   counts requests and connections as they end
snapshot   all numbers of a process at a moment, as values and as JSON
gather     a snapshot of this process
totals     the sum of several processes, which come and go
families   a snapshot in Prometheus' text format
pages      port 15020 of a process that serves alone
parent     port 15020 of a process whose workers serve
"""
