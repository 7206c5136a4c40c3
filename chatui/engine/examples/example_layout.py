"""How each model family encodes its training examples and lays them out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from chatui.engine.codec import added_tokens, adds_special_tokens, appends_eos
from chatui.engine.examples.training_example import (
    ChatGLMTokens,
    TrainingExample,
    alpaca_example,
    causal_example,
    chatglm_example,
)
from chatui.engine.model import common_prefix
from chatui.engine.tokenizers import template_eos_ids
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.format import CHAT_TEMPLATE, PromptFormat
from chatui.prompting.prompt_text import PromptText, TokenFinder, encode
from chatui.text import without_surrogates

Family: TypeAlias = Literal["chatglm", "alpaca", "causal"]

EncodeTexts: TypeAlias = Callable[[Sequence[str]], list[list[int]]]
EncodeAll: TypeAlias = Callable[[Sequence[str], bool], list[list[int]]]
"""(texts, whether to add the special tokens that begin a prompt) -> ids."""

_MIN_TEXTS = 16
_MIN_CHARACTERS, _MAX_CHARACTERS = 32, 4096
"""Length of a common beginning in characters: the minimum worth using, and the maximum used."""
_LOOKAHEAD = 6
"""Common characters required after the cut, so that later text cannot change the tokens at it."""

_CUT = re.compile(r"(?<=[!-~]) (?=[A-Za-z])")
_LOOKBEHIND = re.compile(r"\(\?<|\^|\\[AbBGK]")
_PROBES = (*"a1.，春\t\n\u0301😀", "", "'s", "  x", "\r\n\n x")
"""Sample texts after the common beginning, with which both ways of encoding are compared."""


@dataclass(frozen=True)
class ExampleLimits:
    """Maximum lengths in tokens.

    Attributes:
        max_source, max_target: for ChatGLM, of the prompt with [gMASK] and of the reply with <sop>
            and <eop>; an example has the length of both.
        max_length: for the other families, of a whole example.
    """

    max_source: int = 64
    max_target: int = 64
    max_length: int = 192


@dataclass(frozen=True)
class ExampleLayout:
    """The encoding and layout of one family's examples.

    Attributes:
        columns: names of the columns.
        length: length of each example in tokens.
        max_source: maximum number of prompt tokens in an example.
        encode_prompts, encode_replies: texts -> ids.
        arrange: (source, target) -> example.
        keeps_empty: whether to make examples of empty queries and replies.
    """

    columns: tuple[str, ...]
    length: int
    max_source: int
    encode_prompts: EncodeTexts
    encode_replies: EncodeTexts
    arrange: Callable[[list[int], list[int]], TrainingExample]
    keeps_empty: bool = True


def make_layout(
    family: Family, tokenizer: Any, format: PromptFormat, limits: ExampleLimits, end: int | None
) -> ExampleLayout:
    """Make the layout of a family.

    Args:
        end: token that ends a reply in causal examples; None for the chat template's or the pad
            token.

    Raises:
        ChatuiError: the tokenizer lacks a special token that the family needs.
    """
    if family == "chatglm":
        return _chatglm(tokenizer, limits)
    encode_prompts, encode_texts = _encoders(tokenizer, format)
    length = limits.max_length
    eos, pad, unknown = (getattr(tokenizer, f"{name}_token_id") for name in ("eos", "pad", "unk"))
    # Tokenizers without a pad token: LLaMA's users took <unk>, which occurs in no text; peft's
    # examples take EOS for GPT-2.
    others = (unknown, eos) if family == "alpaca" else (eos, unknown)
    padding = next((id for id in (pad, *others) if id is not None), None)
    if padding is None:
        raise ChatuiError(say("dataset.no_padding"))
    if family == "alpaca":
        text = tokenizer.eos_token
        if not text:
            raise ChatuiError(say("dataset.no_eos"))
        return ExampleLayout(
            columns=("input_ids", "labels"),
            length=length,
            max_source=length,
            encode_prompts=encode_prompts,
            encode_replies=lambda texts: encode_texts([f"{each}{text}" for each in texts]),
            arrange=lambda source, target: alpaca_example(source, target, padding, length),
        )
    if end is None and format.name == CHAT_TEMPLATE:
        end = next(iter(template_eos_ids(tokenizer)), None)
    last = padding if end is None else end
    return ExampleLayout(
        columns=("input_ids", "attention_mask", "labels"),
        length=length,
        max_source=length,
        encode_prompts=encode_prompts,
        encode_replies=lambda texts: [[*ids, last] for ids in encode_texts(texts)],
        arrange=lambda source, target: causal_example(source, target, padding, length),
    )


def _chatglm(tokenizer: Any, limits: ExampleLimits) -> ExampleLayout:
    if not hasattr(tokenizer, "gmask_token_id"):
        raise ChatuiError(say("dataset.no_chatglm"))
    tokens = ChatGLMTokens(
        gmask=tokenizer.gmask_token_id,
        sop=tokenizer.bos_token_id,
        eop=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
    )
    return ExampleLayout(
        columns=("input_ids", "labels"),
        length=limits.max_source + limits.max_target,
        max_source=limits.max_source,
        encode_prompts=tokenizer.encode_texts,
        encode_replies=tokenizer.encode_texts,
        arrange=lambda source, target: chatglm_example(
            source, target, tokens, limits.max_source, limits.max_target
        ),
        keeps_empty=False,
    )


def _encoders(tokenizer: Any, format: PromptFormat) -> tuple[EncodeTexts, EncodeTexts]:
    """Return the encoders of prompts, as the model reads them, and of replies."""
    has_first = adds_special_tokens(tokenizer, special_tokens=format.name != CHAT_TEMPLATE)
    drops_eos = has_first and appends_eos(tokenizer)
    tokens = [token for token in added_tokens(tokenizer) if not token.isspace()]
    finder = TokenFinder(tokens, any_width=True)

    def encode_texts(texts: Sequence[str], special: bool) -> list[list[int]]:
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            # No tokenizer accepts lone surrogates.
            texts = [without_surrogates(text) for text in texts]
        ids = _encode_all(tokenizer, texts, special)
        return [each[:-1] for each in ids] if special and drops_eos else ids

    encode_many = _encode_prefix_once(encode_texts, tokenizer, tokens)

    def encode_literal(texts: Sequence[str], special: bool) -> list[list[int]]:
        """Encode the texts; special tokens in their literal spans are read as plain text."""
        ids = encode_many(texts, special)
        if not format.literal:
            return ids
        for index, text in enumerate(texts):
            spans = getattr(text, "literal", ())
            if any(next(finder.find(text, *span), None) for span in spans):
                ids[index] = encode(
                    text, finder,
                    lambda part: encode_texts([part], special)[0],
                    lambda part: encode_texts([part], False)[0],
                )  # fmt: skip
        return ids

    def encode_replies(texts: Sequence[str]) -> list[list[int]]:
        if format.literal:
            texts = [PromptText(text, ((0, len(text)),)) for text in texts]
        return encode_literal(texts, False)

    return lambda texts: encode_literal(texts, has_first), encode_replies


def _encode_all(tokenizer: Any, texts: Sequence[str], special: bool) -> list[list[int]]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [tokenizer.encode(text, add_special_tokens=special) for text in texts]
    backend.no_truncation()
    backend.no_padding()
    return [made.ids for made in backend.encode_batch_fast(texts, add_special_tokens=special)]


def _encode_prefix_once(encode: EncodeAll, tokenizer: Any, added: Collection[str]) -> EncodeAll:
    """Return a function with the results of ``encode`` that encodes a common beginning only once.

    Args:
        encode: the function to speed up.
        tokenizer: the tokenizer that it uses.
        added: spellings of added tokens, which are recognised anywhere in a text.
    """
    if not _splits_by_patterns(tokenizer):
        return encode

    @lru_cache(8)
    def cut(beginning: str, special: bool) -> tuple[int, list[int]]:
        """Return the index at which a beginning can be cut, or 0, and the ids before it."""
        cuts = [match.start() for match in _CUT.finditer(beginning, _MIN_CHARACTERS)]
        at = max((index for index in cuts if index <= len(beginning) - _LOOKAHEAD), default=0)
        if not at or any(beginning[at:] in token for token in added):
            return 0, []
        (head,) = encode([beginning[:at]], special)
        samples = [beginning + probe for probe in _PROBES]
        apart = [head + ids for ids in encode([sample[at:] for sample in samples], False)]
        return (at, head) if apart == encode(samples, special) else (0, [])

    def encode_all(texts: Sequence[str], special: bool) -> list[list[int]]:
        if len(texts) < _MIN_TEXTS:
            return encode(texts, special)
        first, last = min(texts)[:_MAX_CHARACTERS], max(texts)
        beginning = first[: common_prefix(first, last)]
        at, head = cut(beginning, special) if len(beginning) > _MIN_CHARACTERS else (0, [])
        if not at:
            return encode(texts, special)
        return [head + ids for ids in encode([text[at:] for text in texts], False)]

    return encode_all


def _splits_by_patterns(tokenizer: Any) -> bool:
    """True if the tokenizer splits texts by patterns without lookbehind.

    The ids before a cut then depend only on the few characters after it.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.pre_tokenizer is None:
        return False
    normalizer = json.loads(backend.normalizer.__getstate__()) if backend.normalizer else None
    state = json.loads(backend.pre_tokenizer.__getstate__())
    steps = state.get("pretokenizers", [state])
    first = steps[0]
    by_pattern = first["type"] == "Split" or first.get("use_regex", False)
    is_local = normalizer is None or normalizer["type"] == "NFC"
    return by_pattern and is_local and all(map(_is_local, steps))


def _is_local(step: dict[str, Any]) -> bool:
    if step["type"] == "ByteLevel":
        return not step["add_prefix_space"]
    if step["type"] != "Split":
        return bool(step["type"] == "Digits")
    pattern = "".join(step["pattern"].values()).replace("[^", "[")
    return step["behavior"] == "Isolated" and not _LOOKBEHIND.search(pattern)
