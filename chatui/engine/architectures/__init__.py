"""Architectures that transformers no longer runs, or runs slowly."""
