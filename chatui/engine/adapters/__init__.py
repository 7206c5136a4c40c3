"""Adapters: LoRA with its embeddings and tokenizers, and P-Tuning v2 prefixes.

Adapters are checked against the base's config by their headers (:mod:`fitting`,
:mod:`adapters_plan`) before anything is loaded. After the base they are read and applied
(:mod:`applied`). The base's tensors are not modified, so that adapters can be removed or replaced.
"""
