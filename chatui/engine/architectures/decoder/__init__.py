"""A fast decoder for the LLaMA family, GPT-2, BLOOM, MOSS and ChatGLM-6B."""
