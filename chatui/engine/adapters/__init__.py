"""Adapters: LoRA of any family, embeddings and tokenizers that come with it, P-Tuning v2 prefixes.

An adapter is checked against the base's config and its own headers (:mod:`fitting`) before
anything is loaded, read (:mod:`applied`) once the base is, and put on without touching the base's
tensors, so that it comes off again and another goes on.
"""
