"""Backends: one protocol for the engine's process, llama.cpp and servers."""
