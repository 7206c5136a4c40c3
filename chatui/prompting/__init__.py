"""Turn the rounds of a conversation into the prompt of a model."""
