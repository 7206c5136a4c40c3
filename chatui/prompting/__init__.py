"""Turn rounds into exactly what a model reads."""
