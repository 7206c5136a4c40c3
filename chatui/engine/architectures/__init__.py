"""Architectures that transformers no longer runs."""
