"""Every command of the program `recognition`, a file for each or for a group of them.

What takes long to import is imported by the command that needs it: `--help` and completion answer at once.
"""
