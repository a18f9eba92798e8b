"""Samplers: one method per file, one scan in base.py."""
