"""LoRA on a loaded base, from the examples that ``chatui dataset`` writes."""
