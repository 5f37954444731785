"""Does nothing until it is told to end: a pod to run commands in."""

import signal

signal.sigwait({signal.SIGTERM, signal.SIGINT})
