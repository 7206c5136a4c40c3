"""ChatGLM-6B (v1, 2023), native: what its own remote code did on the transformers of its time."""
