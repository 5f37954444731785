"""The HTTP/JSON API over a unix socket: for the runner and the command line.

handlers  requests to the engine and back, with errors as {"error": "..."}
bodies    JSON of requests, checked
tables    what `tandem get` shows; workloads: those of workloads, policies, problems
dump      what `tandem dump control` shows
server    the socket
"""
