"""Beside programs of others that nobody can ask for in a test of every day.

ztunnel     a stock one as node agent, of one end of a tunnel or the other
"""
