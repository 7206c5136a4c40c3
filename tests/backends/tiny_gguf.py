"""A tiny Llama with random weights as a GGUF file."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

CONTEXT = 512
WIDTH, FEED, HEADS, LAYERS = 64, 128, 4, 2
TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_gguf(path: Path, *, template: bool = True, says_bytes: bool = False) -> Path:
    """Write a model of byte tokens and ASCII letters that generates only one of the two kinds."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *byte_tokens, *letters, "你", "好"]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    if template:
        writer.add_chat_template(TEMPLATE)

    random = np.random.default_rng(1)

    def add(name: str, *shape: int, scale: float = 0.2) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    def add_norm(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))

    add("token_embd.weight", len(tokens), WIDTH, scale=1.0)
    for layer in range(LAYERS):
        prefix = f"blk.{layer}"
        add_norm(f"{prefix}.attn_norm.weight")
        for part in ("q", "k", "v", "output"):
            add(f"{prefix}.attn_{part}.weight", WIDTH, WIDTH)
        add_norm(f"{prefix}.ffn_norm.weight")
        add(f"{prefix}.ffn_gate.weight", FEED, WIDTH)
        add(f"{prefix}.ffn_up.weight", FEED, WIDTH)
        add(f"{prefix}.ffn_down.weight", WIDTH, FEED)
    add_norm("output_norm.weight")
    output = random.standard_normal((len(tokens), WIDTH)).astype(np.float32) * 0.001
    first, count = (3, 256) if says_bytes else (tokens.index("a"), 26)
    output[first : first + count] *= 300
    writer.add_tensor("output.weight", output)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
