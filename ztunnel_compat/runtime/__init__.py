"""What every process needs, whatever it does.

log       the line format that ztunnel has, on standard error
tasks     owned background work: a failure ends the process
backoff   how long to wait before trying again
"""
