"""Plug-ins: filters of users' own, in Python, each run by a process beside this one.

PluginSpec     what a PythonFilter object asks for (decode: from its message)
PluginFilter   the filter in a chain: asks the plug-in about each request
Version        one loaded spec; Plugins: all of them, and which is in force
Host           a version's process, started anew when it ended (usage: what it used)
Call           what a process is asked; Link: the socket to it
Session        one request's way through one plug-in, from its head to its response
BodyIntake     the request's body, and ResponseTap the response, through a plug-in
Allowance      how much a plug-in may say in the log
"""
