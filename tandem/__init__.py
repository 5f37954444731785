"""What Tandem offers to programs of its users: plugins, to write filters in Python.

It stands alone: it needs nothing but Python's standard library.
"""
