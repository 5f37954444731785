"""Faults on purpose: requests held or refused, responses slowed down (Envoy's HTTPFault).

settings  what is configured, and what a request gets of it: pure
decode    from Envoy's message
filter    the filter
pace      responses at a rate: how much may go now (pure), and the tap that holds the rest
"""
