"""The chat template of a transformers tokenizer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from chatui.engine.codec import added_tokens
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting import formats
from chatui.prompting.chat_template import ChatTemplate, chat_template_format, end_of_turn
from chatui.prompting.families import CHAT_TEMPLATE, format_of
from chatui.prompting.format import PromptFormat


def own_format(family: str, tokenizer: Any) -> str:
    """The name of the prompt format of a family, or of the tokenizer's template if it has one."""
    has_template = bool(getattr(tokenizer, "chat_template", None))
    return format_of(family, has_chat_template=has_template)


def format_named(name: str, tokenizer: Any) -> PromptFormat:
    """A prompt format, which may be the tokenizer's template.

    Raises:
        ChatuiError: there is no such format, or the template is as :func:`template_of` says.
    """
    if name != CHAT_TEMPLATE:
        return formats.get(name)
    return chat_template_format(template_of(tokenizer), "tokenizer_config.json: chat_template")


@lru_cache(maxsize=1)
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
