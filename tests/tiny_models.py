"""Tiny models with random weights in the real architectures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HANZI = (
    "春眠不觉晓处闻啼鸟夜来风雨声花落知多少白日依山尽黄河入海流欲穷千里目更上一层楼问答：，。！？"
)
TEXTS = (
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
    "Below is an instruction that describes a task. ### Response: hello world 0123456789",
)
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def gpt2_chinese(
    folder: Path, *, seed: int = 0, context: int = 256, dtype: str = "float32"
) -> Path:
    """GPT-2 with one token per character, like uer/gpt2-chinese and the embedded model."""
    from transformers import AddedToken, BertTokenizer, GPT2Config, GPT2LMHeadModel

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(HANZI)]
    words += ["[", "]", "Round", *"0123456789", "hello", "world", "##ly"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=False)
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=context, n_embd=32, n_layer=2, n_head=2,
        bos_token_id=2, eos_token_id=3, initializer_range=0.3,
    )  # fmt: skip
    return _save(folder, GPT2LMHeadModel, config, tokenizer, seed, dtype)


def llama(folder: Path, *, seed: int = 0, dtype: str = "float32", **config: Any) -> Path:
    """LLaMA with a byte-fallback tokenizer that adds <s>."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_fallback_tokenizer()
    made = LlamaConfig(
        **{
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 512, "initializer_range": 0.3,
            "bos_token_id": 1, "eos_token_id": 2,
        } | config
    )  # fmt: skip
    return _save(folder, LlamaForCausalLM, made, tokenizer, seed, dtype)


def bloom(folder: Path, *, seed: int = 0, dtype: str = "float32") -> Path:
    """BLOOM (ALiBi) with a byte-level tokenizer."""
    from transformers import BloomConfig, BloomForCausalLM

    tokenizer = byte_level_tokenizer(["<unk>", "<s>", "</s>", "<pad>"], eos_token="</s>")
    config = BloomConfig(
        vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3
    )
    return _save(folder, BloomForCausalLM, config, tokenizer, seed, dtype)


def qwen2(folder: Path, *, seed: int = 0, dtype: str = "float32", **config: Any) -> Path:
    """Qwen 2 with a chat template."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = byte_level_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    made = Qwen2Config(
        **{
            "vocab_size": len(tokenizer) + 5, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 512, "initializer_range": 0.3, "bos_token_id": 0,
            "eos_token_id": 0, "tie_word_embeddings": True,
        } | config
    )  # fmt: skip
    return _save(folder, Qwen2ForCausalLM, made, tokenizer, seed, dtype)


def moss(folder: Path, *, seed: int = 0, dtype: str = "float32") -> Path:
    """MOSS as its authors published it: remote code, vocab.json, merges.txt, added_tokens.json."""
    from transformers import CodeGenConfig, CodeGenForCausalLM

    tokenizer = byte_level_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>")
    marks = ["<eoc>", "<eoh>", "<eom>", "<eor>", "<eot>", "<|Human|>", "<|MOSS|>"]
    config = CodeGenConfig(
        vocab_size=len(tokenizer) + 16, n_positions=2048, n_ctx=2048, n_embd=32, n_layer=2,
        n_head=4, rotary_dim=4, initializer_range=0.3, bos_token_id=0, eos_token_id=0,
        tie_word_embeddings=False,
    )  # fmt: skip
    vocabulary = tokenizer.get_vocab()
    _save(folder, CodeGenForCausalLM, config, tokenizer, seed, dtype)
    merges = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    added = {mark: len(vocabulary) + place for place, mark in enumerate(marks)}
    (folder / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")
    code = {"AutoTokenizer": ["tokenization_moss.MossTokenizer", None]}
    settings = {"tokenizer_class": "MossTokenizer", "auto_map": code, "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    set_config(folder, model_type="moss", architectures=["MossForCausalLM"], wbits=32)
    return folder


def byte_level_tokenizer(specials: list[str], **names: str) -> Any:
    """A tokenizer like GPT-2's, trained on ``TEXTS``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def byte_fallback_tokenizer() -> Any:
    """A tokenizer like LLaMA's as converted by transformers, trained on ``TEXTS``."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>"]
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[*specials, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    # Byte tokens are ordinary tokens, not special ones.
    data = json.loads(made.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] in specials]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


def _save(folder: Path, kind: Any, config: Any, tokenizer: Any, seed: int, dtype: str) -> Path:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    kind(config).to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def to_bin(folder: Path) -> Path:
    """Convert a folder's safetensors file into two PyTorch shards with an index."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, folder / shard)
        places |= dict.fromkeys(part, shard)
    index = {"metadata": {}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def set_config(folder: Path, **values: object) -> None:
    """Change keys of a folder's config.json; None removes the key."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | values
    kept = {key: value for key, value in config.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")
