"""The DICE-Talk engine: renders a portrait, speech and an emotion prior to frames by video diffusion.

This module imports nothing heavy, so that `doctor` and `download` run even if torch is not installed.
"""
