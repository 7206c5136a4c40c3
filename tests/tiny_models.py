"""Folders of tiny models with random weights in the true architectures, for any room's tests."""

from __future__ import annotations

import json
from pathlib import Path

HANZI = (
    "春眠不觉晓处闻啼鸟夜来风雨声花落知多少白日依山尽黄河入海流欲穷千里目更上一层楼问答：，。！？"
)


def gpt2_chinese(
    folder: Path, *, seed: int = 0, context: int = 256, dtype: str = "float32"
) -> Path:
    """GPT-2 with one token a character, the way of uer/gpt2-chinese and of the embedded model."""
    import torch
    from transformers import AddedToken, BertTokenizer, GPT2Config, GPT2LMHeadModel

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(HANZI)]
    words += ["[", "]", "Round", *"0123456789", "hello", "world", "##ly"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=False)
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=context, n_embd=32, n_layer=2, n_head=2,
        bos_token_id=2, eos_token_id=3, initializer_range=0.3,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    return folder


def set_config(folder: Path, **values: object) -> None:
    """Change keys of a folder's config.json; None removes the key."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | values
    kept = {key: value for key, value in config.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")
