"""Talking-head rendering: turns a portrait, a speech recording and an emotion into a video.

This package is a library of its own and knows nothing of HTTP. The `api` package serves it.
"""

__version__ = "1.2.0"
