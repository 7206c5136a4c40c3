"""A decoder of our own for the LLaMA line and GPT-2, on the weights that transformers loaded."""
