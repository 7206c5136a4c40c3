"""Training examples: token ids and labels of dialogues, and the files that hold them."""
