"""Training of LoRA adapters on the examples that ``chatui dataset`` writes."""
