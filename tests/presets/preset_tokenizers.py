"""Write the tokenizer files of each checkpoint into a folder.

Every function returns the number of rows that the model's embeddings need.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import preset_pieces
import preset_templates
import tiny_models

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
DEEPSEEK_MARKS = (EOS, "<｜User｜>", "<｜Assistant｜>", BOS)
QWEN_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINKING = ("<think>", "</think>")
GLM_MARKS = (
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>",
    "<|assistant|>", "<|observation|>",
)  # fmt: skip
BLOOM_MARKS = ("<unk>", "<s>", "</s>", "<pad>")
MOSS_MARKS = ("<eoc>", "<eoh>", "<eom>", "<eor>", "<eot>", "<|Human|>", "<|MOSS|>")
MOSS_EOM = 106068
_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def llama(folder: Path, **config: Any) -> int:
    """tokenizer.model and two small files; yahma/llama-7b-hf."""
    return _sentencepiece(folder, preset_pieces.llama(), **config)


def decapoda(folder: Path) -> int:
    """The first conversion of LLaMA: no names of special tokens, and a class that was renamed."""
    names = {"bos_token": "", "eos_token": "", "unk_token": "", "tokenizer_class": "LLaMATokenizer"}
    (folder / "tokenizer.model").write_bytes(preset_pieces.llama())
    write_json(folder / "tokenizer_config.json", names)
    write_json(folder / "special_tokens_map.json", {})
    return preset_pieces.count(preset_pieces.llama())


def chinese_llama(folder: Path, **config: Any) -> int:
    """The merged vocabulary: 49,953 pieces in the original."""
    return _sentencepiece(folder, preset_pieces.chinese_llama(), **config)


def chinese_alpaca(folder: Path) -> int:
    """The merged vocabulary and [PAD], which only special_tokens_map.json names: 49,954."""
    rows = chinese_llama(folder)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "[PAD]"}
    write_json(folder / "special_tokens_map.json", names)
    return rows + 1


def chimera(folder: Path) -> int:
    """LLaMA's with a pad token at the end."""
    rows = llama(folder, pad_token="[PAD]")
    write_json(folder / "added_tokens.json", {"[PAD]": rows})
    return rows + 1


def _sentencepiece(folder: Path, pieces: bytes, **config: Any) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(pieces)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"add_bos_token": True, "add_eos_token": False, "tokenizer_class": "LlamaTokenizer"}
    write_json(folder / "special_tokens_map.json", names)
    write_json(folder / "tokenizer_config.json", {**names, **settings, **config})
    return preset_pieces.count(pieces)


def yi(folder: Path) -> int:
    """Pieces of ChatML in LLaMA's class, no BOS in front."""
    return _sentencepiece(
        folder, preset_pieces.chatml(), add_bos_token=False, eos_token="<|im_end|>",
        chat_template=preset_templates.YI, added_tokens_decoder=_chatml_pieces(),
    )  # fmt: skip


def minicpm3(folder: Path) -> int:
    """Pieces of ChatML in LLaMA's class."""
    return _sentencepiece(
        folder, preset_pieces.chatml(), add_bos_token=True, eos_token="<|im_end|>",
        tokenizer_class="LlamaTokenizer", chat_template=preset_templates.CHATML,
        added_tokens_decoder=_chatml_pieces(),
    )  # fmt: skip


def internlm3(folder: Path) -> int:
    """Pieces of ChatML in a class of the repository's own code, which is not run."""
    return _sentencepiece(
        folder, preset_pieces.chatml(), tokenizer_class="InternLM3Tokenizer",
        auto_map={"AutoTokenizer": ["tokenization_internlm3.InternLM3Tokenizer", None]},
        chat_template=preset_templates.INTERNLM3, added_tokens_decoder=_chatml_pieces(),
    )  # fmt: skip


def _chatml_pieces() -> dict[str, Any]:
    marks = ("<unk>", "<s>", "</s>", *preset_pieces.CHATML)
    return {
        str(preset_pieces.id_of(preset_pieces.chatml(), mark)): _added(mark, special=True)
        for mark in marks
    }


def ice_text(folder: Path) -> int:
    """ChatGLM-6B's; the model's embedding has more rows than there are pieces."""
    (folder / "ice_text.model").write_bytes(preset_pieces.ice_text())
    names = {
        "bos_token": "<sop>", "eos_token": "<eop>", "end_token": "</s>", "gmask_token": "[gMASK]",
        "mask_token": "[MASK]", "pad_token": "<pad>", "unk_token": "<unk>",
    }  # fmt: skip
    code = {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]}
    settings = {
        "remove_space": False, "do_lower_case": False, "num_image_tokens": 0,
        "tokenizer_class": "ChatGLMTokenizer", "auto_map": code,
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", {**names, **settings})
    return preset_pieces.count(preset_pieces.ice_text()) + 8


def gpt2_chinese(folder: Path) -> int:
    """vocab.txt of BERT: one token per character."""
    words = ["[PAD]", *(f"[unused{n}]" for n in range(1, 10)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [*dict.fromkeys(tiny_models.HANZI), *"0123456789", "hello", "world", "##ly"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    names = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    names |= {"cls_token": "[CLS]", "mask_token": "[MASK]"}
    write_json(folder / "special_tokens_map.json", names)
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False, **names})
    return len(words)


def bloom(folder: Path) -> int:
    """tokenizer.json of BLOOM, named by its class."""
    rows = _byte_level(folder, BLOOM_MARKS, first=True)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    write_json(folder / "special_tokens_map.json", names)
    settings = {"tokenizer_class": "BloomTokenizerFast", "padding_side": "left"}
    write_json(folder / "tokenizer_config.json", {**names, **settings, "add_prefix_space": False})
    return rows


def moss(folder: Path) -> int:
    """vocab.json, merges.txt and added_tokens.json of remote code, with <eom> at its original id.

    The pieces in between are fillers that no text contains.
    """
    made = json.loads(_bpe(tuple(QWEN_MARKS[:1]), True).to_str())["model"]
    vocabulary = made["vocab"]
    first = MOSS_EOM - MOSS_MARKS.index("<eom>")
    fillers = {f"<filler {n}>": n for n in range(len(vocabulary), first)}
    write_json(folder / "vocab.json", vocabulary | fillers)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in made["merges"]]
    lines = "\n".join(["#version: 0.2", *merges])
    (folder / "merges.txt").write_text(f"{lines}\n", encoding="utf-8")
    added = {mark: first + place for place, mark in enumerate(MOSS_MARKS)}
    write_json(folder / "added_tokens.json", added)
    end = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    code = {"AutoTokenizer": ["tokenization_moss.MossTokenizer", None]}
    settings = {"tokenizer_class": "MossTokenizer", "auto_map": code, "add_prefix_space": False}
    write_json(folder / "special_tokens_map.json", end)
    write_json(folder / "tokenizer_config.json", {**end, **settings})
    return first + len(MOSS_MARKS) + 13


def qwen(folder: Path, template: str = preset_templates.QWEN25, *, thinks: bool = False) -> int:
    """Qwen2.5's and Qwen3's: four files, marks after the vocabulary, and padded embeddings."""
    marks = (*QWEN_MARKS, *(THINKING if thinks else ()))
    rows = _byte_level(folder, marks, split=_QWEN_SPLIT, plain=THINKING)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    write_json(folder / "vocab.json", model["vocab"])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "tokenizer_class": "Qwen2Tokenizer", "chat_template": template, "bos_token": None,
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None,
        "add_prefix_space": False, "added_tokens_decoder": _decoder(rows, marks),
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", settings)
    return rows + 24


def deepseek(folder: Path, tokenizer_class: str = "LlamaTokenizerFast") -> int:
    """The distillations': byte-level BPE under LLaMA's class name, BOS in the template."""
    marks = (*DEEPSEEK_MARKS, *THINKING)
    rows = _byte_level(folder, marks, split=_QWEN_SPLIT, plain=(*THINKING, *DEEPSEEK_MARKS[1:3]))

    def token(content: str) -> dict[str, Any]:
        return {"__type": "AddedToken", **_added(content, special=False), "normalized": True}

    settings = {
        "add_bos_token": True, "add_eos_token": False, "bos_token": token(BOS),
        "eos_token": token(EOS), "pad_token": token(EOS), "unk_token": None, "legacy": True,
        "tokenizer_class": tokenizer_class, "sp_model_kwargs": {},
        "chat_template": preset_templates.DEEPSEEK, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", settings)
    return rows + 24


def glm(folder: Path, template: str) -> int:
    """GLM-4's: only tokenizer.json, with [gMASK] and <sop> in the template."""
    thinks = "<think>" in template
    rows = _byte_level(folder, (*GLM_MARKS, *(THINKING if thinks else ())), plain=THINKING)
    settings = {
        "tokenizer_class": "PreTrainedTokenizer", "chat_template": template,
        "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "padding_side": "left",
        "do_lower_case": False, "remove_space": False, "model_max_length": 128000,
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": list(GLM_MARKS), "added_tokens_decoder": _decoder(rows, GLM_MARKS),
    }  # fmt: skip
    if "<|assistant|>{% endif %}" in template:
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if thinks:
        settings["added_tokens_decoder"] = _decoder(rows, (*GLM_MARKS, *THINKING))
    write_json(folder / "tokenizer_config.json", settings)
    return rows + 8


def _added(content: str, *, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"content": content, **flags, "special": special}


def _decoder(rows: int, marks: tuple[str, ...]) -> dict[str, Any]:
    first = rows - len(marks)
    return {
        str(first + place): _added(mark, special=mark not in THINKING)
        for place, mark in enumerate(marks)
    }


def _byte_level(
    folder: Path, marks: tuple[str, ...], *, split: str = "", plain: tuple[str, ...] = (),
    first: bool = False,
) -> int:  # fmt: skip
    """Write tokenizer.json with marks before or after the vocabulary; ``plain`` are not special.

    Returns:
        The number of tokens.
    """
    from tokenizers import AddedToken, Tokenizer

    made = Tokenizer.from_str(_bpe(marks if first else (), first, split).to_str())
    if not first:
        for mark in marks:
            made.add_tokens([AddedToken(mark, special=mark not in plain, normalized=False)])
    made.save(str(folder / "tokenizer.json"))
    rows: int = made.get_vocab_size()
    return rows


@cache
def _bpe(marks: tuple[str, ...], first: bool, split: str = "") -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split)
    made.pre_tokenizer = bytes_
    if split:
        cut = pre_tokenizers.Split(Regex(split), behavior="isolated", invert=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([cut, bytes_])
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=list(marks) if first else [],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(preset_pieces.TEXTS, trainer)
    return made
