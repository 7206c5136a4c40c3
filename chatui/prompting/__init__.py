"""From rounds to exactly what a model reads."""
