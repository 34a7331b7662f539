"""Cameras: frames of sources that break, the faces in them followed, and a visit of each.

capturing.py is the program of a process that reads one source; feeds.py runs it, and again when it ends or
hangs. motion.py and tracking.py are pure: whether anything moves, and which faces are one visit. watching.py
puts them
together: frame -> faces (the service) -> visits -> events (the service). Who the faces are only the service
    says.
"""
