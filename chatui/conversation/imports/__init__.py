"""Conversations out of the files of other programs, each form in a file of its own."""
