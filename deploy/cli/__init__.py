"""The `tandem` command line.

mesh        what `tandem up` runs; its name (default `tandem`) tells it from others
place       where a running mesh keeps its state, and the client of its control plane
record      a pod as the runner describes it in `pod.json`
leftovers   what a run that was killed has left on the machine

A command is a function from its parsed arguments to an exit status; what it prints
is for people, except `-o json` and `dump`. A failure is a `CommandError`: one line.
"""
