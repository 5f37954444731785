"""Global rate limits: a service counts for all waypoints (Envoy's ratelimit).

Settings    of the filter; Override: a route's own
Answer      what the service said; wire: question and answer as messages
verdict     what becomes of a request by an answer: pure
"""
