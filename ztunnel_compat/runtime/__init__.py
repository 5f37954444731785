"""What every process needs, whatever it does.

process   from settings to the event loop
settings  environment variables, with every fault named at once
admin     readiness, and pages for people, over HTTP
metrics   what Prometheus scrapes, over HTTP; exposition: its text
memory    how the C library treats buffers that come and go
log       the line format that ztunnel has, on standard error
log_handler  writes it without waiting for who reads it; descriptors: how
tasks     owned background work: a failure ends the process
backoff   how long to wait before trying again
"""
