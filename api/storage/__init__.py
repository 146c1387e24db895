"""The files of renders and of uploads."""
