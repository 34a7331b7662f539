"""Finds, describes and matches faces. Data travels one way:

bytes    -> picture   images.decode
picture  -> faces     detector
faces    -> crops     crops.crop_faces
crops    -> vectors   embedder (the other service)
vectors  -> matches   gallery.nearest
matches  -> JSON      render
"""
