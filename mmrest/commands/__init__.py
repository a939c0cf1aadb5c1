"""Command lines: a module for each tool, whose ``main(argv)`` parses, calls the room that does the work, and prints.

This is the top of the package, since training and testing need several rooms that do not import each other.
"""
