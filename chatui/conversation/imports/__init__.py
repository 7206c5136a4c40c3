"""Readers of other programs' conversation files, one module for each format."""
