"""Render replies as Markdown, line by line; finished lines are not drawn again."""
