"""Embedded CPU engine."""
