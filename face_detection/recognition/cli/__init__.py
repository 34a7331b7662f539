"""The commands of `python -m recognition`, one file for each or for some that belong together."""
