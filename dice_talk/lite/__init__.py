"""The embedded engine, which runs on any CPU."""
