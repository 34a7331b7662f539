"""HTTP as clients of CompreFace 1.2 speak it, under /api/v1: their keys, words and codes.

It is a dialect of the use cases that web/ has, too. Status numbers stay in here. Where it is off, nothing
imports it.
"""
