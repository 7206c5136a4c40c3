"""The tokenizer of a model folder, its chat template, and the tokens that end a reply.

A tokenizer.json is used unchanged. transformers 5 would rebuild the tokenizer from the file's
vocabulary and the class named in tokenizer_config.json, and give other ids if the two differ.
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
from chatui.engine.codec import added_tokens, decoder_kinds, special_ids
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.prompting import formats
from chatui.prompting.chat_template import ChatTemplate, chat_template_format, end_of_turn
from chatui.prompting.format import CHAT_TEMPLATE, PromptFormat, format_of

EOS_TOKENS = {"moss": ("<eom>",), "llama": ("</s>",), "chatglm": ("<eop>",), "bloom": ("<pad>",)}
"""Tokens that end a reply in a family, in addition to those named in the model's files.

BLOOM ends with <pad> if it was fine-tuned as in peft's examples or with ``chatui dataset``.
"""
_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken", "*.vocab")

# For folders of 2023 whose tokenizer_config.json names remote code or an old class name.
_BY_FAMILY = {
    "llama": "LlamaTokenizer",
    "moss": "GPT2Tokenizer",
    "bloom": "BloomTokenizer",
    "gpt2": "GPT2Tokenizer",
}


def load_tokenizer(folder: Path, family: str) -> Any:
    """Load the tokenizer in ``folder``, without running code from the folder.

    Raises:
        ChatuiError: there is no tokenizer, or it cannot be read.
    """
    if not folder.is_dir():
        raise ChatuiError(say("engine.no_such_path", path=folder))
    if not any(any(folder.glob(pattern)) for pattern in _FILES):
        raise ChatuiError(say("engine.no_tokenizer", folder=folder))
    for file in folder.glob("*token*"):
        check_not_pointer(file)
    try:
        tokenizer = _load(folder, family)
        # chatui checks the context window, and some folders state wrong lengths.
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
    """Load LLaMA's SentencePiece model with the defaults of LlamaTokenizer in transformers 4.28.

    <s> comes first, a space precedes the text after a special token, and the special tokens that
    the first conversions left empty get names. SentencePiece itself encodes, because a list of
    merges cannot express its leftmost choice among the pieces of score 0 that Chinese-LLaMA added.
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
    """Add <s> to prompts or not, by the post-processor that LlamaTokenizerFast set."""
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


def default_format_name(family: str, tokenizer: Any) -> str:
    """Return the format name of a family, or of the tokenizer's chat template if it has one."""
    return format_of(family, has_chat_template=bool(getattr(tokenizer, "chat_template", None)))


def load_format(name: str, tokenizer: Any) -> PromptFormat:
    """Return the prompt format ``name``, which may be the tokenizer's chat template.

    Raises:
        ChatuiError: there is no such format, or see :func:`compile_template`.
    """
    if name != CHAT_TEMPLATE:
        return formats.get(name)
    return chat_template_format(compile_template(tokenizer), "tokenizer_config.json: chat_template")


def compile_template(tokenizer: Any) -> ChatTemplate:
    """Compile the tokenizer's chat template.

    Raises:
        ChatuiError: it has no template, several without a default, or an invalid one.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ChatuiError(say("engine.no_chat_template"))
    try:
        source: str = tokenizer.get_chat_template()
    except ValueError as error:
        raise ChatuiError(say("engine.no_chat_template")) from error
    return ChatTemplate.compiled(source, tokenizer.special_tokens_map, added_tokens(tokenizer))


def template_eos_ids(tokenizer: Any) -> frozenset[int]:
    """Return the special token with which the template ends a reply, if there is one.

    Many folders name only the end of a text as EOS, not the end of a turn.
    """
    after = end_of_turn(compile_template(tokenizer))
    ids: list[int] = tokenizer.encode(after, add_special_tokens=False) if after else []
    return frozenset(ids[:1]) & special_ids(tokenizer)


def find_eos_ids(
    spec: ModelSpec, family: str, format: PromptFormat, config: Any, tokenizer: Any
) -> frozenset[int]:
    """Return the tokens that end a reply.

    They are the spec's; else those of config, generation config, tokenizer, family and template.
    """
    if spec.eos_ids:
        return frozenset(spec.eos_ids)
    found = [tokenizer.eos_token_id]
    named = [getattr(config, "eos_token_id", None)]
    file = Path(spec.path, "generation_config.json")
    if file.is_file():
        named.append(read_json_object(file).get("eos_token_id"))
    for value in named:
        found += value if isinstance(value, list | tuple) else [value]
    if "WordPiece" in decoder_kinds(tokenizer):
        found += [tokenizer.pad_token_id, tokenizer.sep_token_id]
    vocabulary = tokenizer.get_vocab()
    found += [vocabulary.get(token) for token in EOS_TOKENS.get(family, ())]
    if format.name == CHAT_TEMPLATE:
        found += template_eos_ids(tokenizer)
    return frozenset(id for id in found if isinstance(id, int))
