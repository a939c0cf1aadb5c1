"""Command lines: a module for each tool.

``main(argv)`` parses the arguments, calls the subpackage that does the work, and prints. This is the top layer:
training needs subpackages that do not import each other.
"""
