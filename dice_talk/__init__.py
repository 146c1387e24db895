"""Talking-head rendering: one portrait, one speech recording and one emotion become a video.

A library of its own: it knows nothing of HTTP. The `api` package serves it.
"""

__version__ = "1.2.0"
