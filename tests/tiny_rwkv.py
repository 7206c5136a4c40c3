"""Tiny RWKV-4 models with random weights in the layout of BlinkDL's `.pth` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LAYERS, WIDTH, HIDDEN = 2, 32, 128
WORLD_ROWS = 65536
PILE_FILE = "20B_tokenizer.json"
WORLD_FILE = "rwkv_vocab_v20230424.txt"
_WORDS = (" User", "User", "Assistant", "\n\n", "。\n\n", "你好", "世界", "，", " the", "ab", "abc")


def raven(folder: Path, name: str = "RWKV-4-Raven-tiny-ctx2048.pth", **options: Any) -> Path:
    """Write a Pile or Raven model with its tokenizer; return the path of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = pile_tokenizer()
    tokenizer.save(str(folder / PILE_FILE))
    return write(folder / name, rows=tokenizer.get_vocab_size(), **options)


def world(folder: Path, name: str = "RWKV-4-World-tiny-ctx4096.pth", **options: Any) -> Path:
    """Write a World model with its vocabulary; return the path of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WORLD_FILE).write_text(world_lines(), encoding="utf-8")
    return write(folder / name, rows=WORLD_ROWS, width=16, hidden=32, **options)


def write(file: Path, **options: Any) -> Path:
    import torch

    torch.save(tensors(**options), file)
    return file


def tensors(
    *,
    rows: int,
    layers: int = LAYERS,
    width: int = WIDTH,
    hidden: int = HIDDEN,
    dtype: str = "bfloat16",
    seed: int = 0,
) -> dict[str, Any]:
    """Return random tensors with the names, shapes and order of RWKV-LM/RWKV-v4neo."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0, around: float = 0.0) -> Any:
        values = around + scale * torch.randn(shape, generator=generator)
        return values.to(getattr(torch, dtype))

    def norm(name: str) -> dict[str, Any]:
        return {
            f"{name}.weight": draw(width, scale=0.2, around=1.0),
            f"{name}.bias": draw(width, scale=0.2),
        }

    def linear(out: int, of: int) -> Any:
        return draw(out, of, scale=1.5 * of**-0.5)

    def mix() -> Any:
        return torch.rand((1, 1, width), generator=generator).to(getattr(torch, dtype))

    found: dict[str, Any] = {"emb.weight": draw(rows, width, scale=0.3)}
    for layer in range(layers):
        at = f"blocks.{layer}"
        if layer == 0:
            found |= norm(f"{at}.ln0")
        found |= norm(f"{at}.ln1") | norm(f"{at}.ln2")
        found |= {
            f"{at}.att.time_decay": draw(width, scale=2.0, around=-1.0),
            f"{at}.att.time_first": draw(width, scale=0.5, around=-1.2),
            f"{at}.att.time_mix_k": mix(),
            f"{at}.att.time_mix_v": mix(),
            f"{at}.att.time_mix_r": mix(),
            f"{at}.att.key.weight": linear(width, width),
            f"{at}.att.value.weight": linear(width, width),
            f"{at}.att.receptance.weight": linear(width, width),
            f"{at}.att.output.weight": linear(width, width),
            f"{at}.ffn.time_mix_k": mix(),
            f"{at}.ffn.time_mix_r": mix(),
            f"{at}.ffn.key.weight": linear(hidden, width),
            f"{at}.ffn.receptance.weight": linear(width, width),
            f"{at}.ffn.value.weight": linear(width, hidden),
        }
    return {**found, **norm("ln_out"), "head.weight": draw(rows, width, scale=0.5)}


def hf_folder(folder: Path, state: dict[str, Any]) -> Path:
    """Write the weights as transformers' RwkvForCausalLM, with a tokenizer.json."""
    from transformers import RwkvConfig, RwkvForCausalLM

    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    rows, width = state["emb.weight"].shape
    config = RwkvConfig(
        vocab_size=rows, hidden_size=width, num_hidden_layers=layers, context_length=512,
        intermediate_size=state["blocks.0.ffn.key.weight"].shape[0], rescale_every=0,
    )  # fmt: skip
    model = RwkvForCausalLM(config).to(state["emb.weight"].dtype)
    model.load_state_dict({_hf_name(name): tensor for name, tensor in state.items()})
    model.save_pretrained(folder)
    pile_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _hf_name(name: str) -> str:
    if name.startswith("head."):
        return name
    for ours, theirs in (
        ("emb.", "embeddings."), (".ln0.", ".pre_ln."), (".att.", ".attention."),
        (".ffn.", ".feed_forward."),
    ):  # fmt: skip
        name = name.replace(ours, theirs)
    for ours, theirs in (("_k", "_key"), ("_v", "_value"), ("_r", "_receptance")):
        if name.endswith(f"time_mix{ours}"):
            name = name.removesuffix(ours) + theirs
    return f"rwkv.{name}"


def pile_tokenizer() -> Any:
    """Byte-level BPE like GPT-NeoX's, with a token for a blank line."""
    from tiny_models import TEXTS
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*TEXTS, *["\n\n"] * 50, *["，：？！"] * 50], trainer)
    return made


def world_lines() -> str:
    """A small vocabulary in the World models' file format: all bytes and some words."""
    lines = [f"{byte + 1} {_literal(bytes([byte]))} 1" for byte in range(256)]
    for id, word in enumerate(_WORDS, 257):
        lines.append(f"{id} {word!r} {len(word.encode())}")
    lines.append(f"{257 + len(_WORDS)} {'你'.encode()[:2]!r} 2")
    return "\n".join(lines) + "\n"


def _literal(raw: bytes) -> str:
    return repr(raw.decode()) if raw.isascii() else repr(raw)
