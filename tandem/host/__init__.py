"""How the waypoint runs filters: in a process of their own, the plug-in host.

frames    what is said between the two, on a socket pair
loading   from a PythonFilter's code or entry point to a filter
calls     one call of a filter's: arguments and results as frames have them
sessions  the requests that a host has under way
output    what filters print, within bounds
sandbox   what the process gives up before any filter's code runs (landlock: files)
program   the process itself

Standard library only, so that a host starts quickly.
"""
