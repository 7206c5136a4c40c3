"""Training examples: token ids and labels made of dialogues, and files of them."""
