"""What is taken over from CompreFace: services, subjects and examples become galleries, people and samples.

source.py says what a source gives; rest.py, database.py and dump.py are the three kinds, none of which ever
writes. taking.py enrols what they give, by the use case that every enrolment takes.
"""
