"""The architecture of the embedded model, and the export of its weights."""

from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from .examples import CONTEXT, Encoder


def new_model(encoder: Encoder) -> GPT2LMHeadModel:
    """Return a GPT-2 of 6.6 million parameters with random weights."""
    config = GPT2Config(
        vocab_size=-(-encoder.tokenizer.get_vocab_size() // 16) * 16,
        n_positions=CONTEXT,
        n_embd=256,
        n_layer=6,
        n_head=4,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=encoder.end,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
    )
    return GPT2LMHeadModel(config)


def export(state: dict[str, torch.Tensor], encoder: Encoder, folder: Path) -> None:
    """Write config.json and model.safetensors (float16) into ``folder``."""
    model = new_model(encoder)
    model.load_state_dict(state)
    model.half().save_pretrained(folder)
    write_generation_config(encoder, folder)


def write_generation_config(encoder: Encoder, folder: Path) -> None:
    """Write the default sampling, which the model card's figures use."""
    from transformers import GenerationConfig

    GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_p=0.8,
        top_k=0,
        max_new_tokens=160,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
    ).save_pretrained(folder)
