"""Models with random weights for the benchmarks."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

HANZI = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少"


def llama_110m(folder: Path, *, context: int = 4096) -> Path:
    """Save a Llama of 110 million random float32 parameters with a tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(16_000)
    config = LlamaConfig(
        vocab_size=16_000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _save(folder, LlamaForCausalLM(config), tokenizer, torch.float32)


def llama_of(folder: Path, layers: int, dtype: str) -> Path:
    """Save a wide Llama of random weights, about 52 million parameters per layer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(16_000)
    config = LlamaConfig(
        vocab_size=16_000,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=layers,
        num_attention_heads=16,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    return _save(folder, model, tokenizer, getattr(torch, dtype))


def _tokenizer(size: int) -> Any:
    """Return a byte-level BPE of exactly ``size`` tokens: all bytes, then pairs of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = list(itertools.islice(itertools.product(alphabet, repeat=2), size - len(alphabet) - 1))
    tokens = ["<|end|>", *alphabet, *(one + other for one, other in pairs)]
    made = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, pairs))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>")


def _save(folder: Path, model: Any, tokenizer: Any, dtype: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    model.to(dtype).save_pretrained(folder)
    return folder


def to_bin(folder: Path) -> None:
    """Convert a folder's weights to a single PyTorch file."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
