"""The DICE-Talk engine: a portrait, speech and an emotion prior become frames by video diffusion.

This module imports nothing heavy, so that `doctor` and `download` run where torch is not installed.
"""
