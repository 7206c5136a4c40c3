"""The tokenizer of a model folder, with the ids that its authors' code gave.

transformers 5 rebuilds a tokenizer from the vocabulary in tokenizer.json and the class that
tokenizer_config.json names, which gives other ids than the file's own pipeline where both differ.
A tokenizer.json is therefore taken as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

from chatui.catalog.model_files import check_not_pointer, read_json_object
from chatui.engine.codec import decoder_kinds
from chatui.errors import ChatuiError
from chatui.locales import say

_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken", "*.vocab")

# For folders of 2023 whose tokenizer_config.json names remote code or a class under an old name.
_BY_FAMILY = {
    "llama": "LlamaTokenizer",
    "moss": "GPT2Tokenizer",
    "bloom": "BloomTokenizer",
    "gpt2": "GPT2Tokenizer",
}


def load_tokenizer(folder: Path, family: str) -> Any:
    """The tokenizer in ``folder``; code in the folder is never run.

    Raises:
        ChatuiError: there is none, or it cannot be read.
    """
    if not folder.is_dir():
        raise ChatuiError(say("engine.no_such_path", path=folder))
    if not any(any(folder.glob(pattern)) for pattern in _FILES):
        raise ChatuiError(say("engine.no_tokenizer", folder=folder))
    for file in folder.glob("*token*"):
        check_not_pointer(file)
    try:
        tokenizer = _load(folder, family)
        # The window is chatui's own concern, and some folders state nonsense.
        tokenizer.model_max_length = VERY_LARGE_INTEGER
        tokenizer.encode("春a", add_special_tokens=True)
        return tokenizer
    except ChatuiError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ChatuiError(say("engine.tokenizer_broken", folder=folder, reason=reason)) from error


def _load(folder: Path, family: str) -> Any:
    if family == "chatglm":
        from chatui.engine.architectures.chatglm.tokenization import ChatGLMTokenizer

        return ChatGLMTokenizer.from_pretrained(folder, local_files_only=True)
    if family == "gpt2" and (folder / "vocab.txt").is_file():
        return transformers.BertTokenizer.from_pretrained(folder, local_files_only=True)
    if (folder / "tokenizer.json").is_file():
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(
            folder, local_files_only=True
        )
        if family == "llama" and "ByteFallback" in decoder_kinds(tokenizer):
            _begin_as_llama(tokenizer, bool(_settings(folder).get("add_bos_token", True)))
        return tokenizer
    if family == "moss":
        return transformers.GPT2Tokenizer.from_pretrained(folder, local_files_only=True)
    if family == "llama" and (folder / "tokenizer.model").is_file():
        return _llama_of_2023(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, AttributeError):
        name = _BY_FAMILY.get(family)
        if name is None:
            raise
        return getattr(transformers, name).from_pretrained(folder, local_files_only=True)


def _settings(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    return read_json_object(file) if file.is_file() else {}


def _llama_of_2023(folder: Path) -> Any:
    """LLaMA's SentencePiece model with what LlamaTokenizer did by default in transformers 4.28.

    <s> in front, a space before the text after a special token, and names for the special tokens
    that the first conversions left empty. SentencePiece itself encodes: of the pieces that
    Chinese-LLaMA appended, all at score 0, it takes the leftmost, which no list of merges can say.
    """
    settings = _settings(folder)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return SentencePieceBackend.from_pretrained(
        folder,
        local_files_only=True,
        special_tokens_pattern="bos" if settings.get("add_bos_token", True) else "none",
        legacy=bool(settings.get("legacy", True)),
        **{name: token for name, token in names.items() if not settings.get(name)},
    )


def _begin_as_llama(tokenizer: Any, with_bos: bool) -> None:
    """Put <s> before a prompt or not, as LlamaTokenizerFast set its post-processor."""
    if not tokenizer.bos_token:
        tokenizer.bos_token = "<s>"
    if not tokenizer.eos_token:
        tokenizer.eos_token = "</s>"
    bos, id = tokenizer.bos_token, tokenizer.bos_token_id
    if id is None:
        return
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A" if with_bos else "$A",
        pair=f"{bos} $A {bos} $B" if with_bos else "$A $B",
        special_tokens=[(bos, id)],
    )
