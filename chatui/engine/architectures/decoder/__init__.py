"""A decoder of our own for the LLaMA line, GPT-2, BLOOM and MOSS, on transformers' layers."""
