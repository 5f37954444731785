"""Tandem's ways to be run.

standalone/  the one-machine mesh: control plane, and pods as network namespaces
cli/         the `tandem` command line
demo/        `make demo`: the bookinfo story, told and checked
samples/     manifests and programs to try the mesh with
"""
