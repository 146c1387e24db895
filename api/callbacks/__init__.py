"""Callbacks to clients' servers."""
