"""Slots, engine processes, and the dispatcher that keeps them busy."""
