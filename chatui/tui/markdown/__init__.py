"""Replies as Markdown, line by line: what stands is never drawn again as more comes."""
