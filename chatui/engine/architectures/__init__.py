"""Architectures that chatui implements itself."""
