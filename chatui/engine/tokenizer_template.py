"""The chat template of a transformers tokenizer."""

from __future__ import annotations

from typing import Any

from chatui.engine.codec import added_tokens
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.chat_template import ChatTemplate, end_of_turn


def template_of(tokenizer: Any) -> ChatTemplate:
    """The tokenizer's template.

    Raises:
        ChatuiError: the tokenizer has none, several without a default, or an invalid one.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ChatuiError(say("engine.no_chat_template"))
    try:
        source: str = tokenizer.get_chat_template()
    except ValueError as error:
        raise ChatuiError(say("engine.no_chat_template")) from error
    return ChatTemplate.compiled(source, tokenizer.special_tokens_map, added_tokens(tokenizer))


def template_end_ids(tokenizer: Any, special: frozenset[int]) -> frozenset[int]:
    """The special token with which the template ends a reply, if it is one.

    Many folders name only the end of a text as EOS, not the end of a turn.
    """
    after = end_of_turn(template_of(tokenizer))
    ids: list[int] = tokenizer.encode(after, add_special_tokens=False) if after else []
    return frozenset(ids[:1]) & special
