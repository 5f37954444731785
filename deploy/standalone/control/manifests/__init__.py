"""YAML text to objects, with everything that is wrong as problems.

document   one object of a file: its node, place and source text
fields     the typed, checking way to read a mapping of a document
loaded     what a text gave: good objects, rejected ones, problems
"""
