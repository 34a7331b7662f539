"""Archives: pictures in folders, and an index of the faces in them. Whose they are only galleries know.

walking.py finds files and reads them, buckets.py those in S3; looking.py sees what is in them; index.py keeps
that in a SQLite file, of which tables.py and rows.py have the form; updating.py puts the three together.
searching.py looks for a face in an index, strangers.py groups those that are nobody's; sidecars.py renders
XMP, parquet.py Parquet.
"""
