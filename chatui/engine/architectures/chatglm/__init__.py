"""ChatGLM-6B (v1, 2023) without remote code, with the results of its original code."""
