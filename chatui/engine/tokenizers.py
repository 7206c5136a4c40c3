"""The tokenizer of a model folder, also where its config names a class that nobody has any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer

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
    try:
        if family == "chatglm":
            from chatui.engine.architectures.chatglm.tokenization import ChatGLMTokenizer

            return ChatGLMTokenizer.from_pretrained(folder, local_files_only=True)
        if family == "moss":
            return transformers.GPT2Tokenizer.from_pretrained(folder, local_files_only=True)
        if family == "gpt2" and (folder / "vocab.txt").is_file():
            return transformers.BertTokenizer.from_pretrained(folder, local_files_only=True)
        return _by_its_own_config(folder, family)
    except ChatuiError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ChatuiError(say("engine.tokenizer_broken", folder=folder, reason=reason)) from error


def _by_its_own_config(folder: Path, family: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, AttributeError):
        name = _BY_FAMILY.get(family)
        if name is None:
            raise
        return getattr(transformers, name).from_pretrained(folder, local_files_only=True)
