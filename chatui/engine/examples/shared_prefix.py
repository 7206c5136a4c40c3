"""Encode the common beginning of a batch of prompts once, if that changes no token id."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from chatui.engine.model import common_prefix

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


def encode_prefix_once(encode: EncodeAll, tokenizer: Any, added: Collection[str]) -> EncodeAll:
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
