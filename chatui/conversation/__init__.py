"""Conversations: rounds, branches, the store on disk, search, transcripts and replay."""
