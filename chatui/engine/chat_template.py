"""The tokenizer's own chat template as a prompt format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.formats import CHAT_TEMPLATE

_MARK = "chatui"


def chat_template_format(tokenizer: Any) -> PromptFormat:
    """A format that renders rounds with ``tokenizer.apply_chat_template``.

    Raises:
        ChatuiError: the tokenizer has no template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ChatuiError(say("engine.no_chat_template"))

    def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
        rounds = [(asked, answered) for asked, answered in history]
        messages = [
            {"role": role, "content": content}
            for asked, answered in rounds
            for role, content in (("user", asked), ("assistant", answered))
        ]
        messages.append({"role": "user", "content": query})
        if not system:
            return _apply(tokenizer, messages)
        try:
            prompt = _apply(tokenizer, [{"role": "system", "content": system}, *messages])
            if system.strip() in prompt:
                return prompt
        except ChatuiError:
            pass
        # The template refuses or ignores system messages: the first query carries it.
        first = {"role": "user", "content": f"{system}\n\n{messages[0]['content']}"}
        return _apply(tokenizer, [first, *messages[1:]])

    return PromptFormat(
        name=CHAT_TEMPLATE, render=render, source="tokenizer_config.json: chat_template"
    )


def _apply(tokenizer: Any, messages: list[dict[str, str]], *, begin_reply: bool = True) -> str:
    try:
        prompt: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=begin_reply
        )
    except Exception as error:
        # Templates are programs of others: Jinja's errors and whatever they raise themselves.
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ChatuiError(say("engine.template_error", reason=reason)) from error
    return prompt


def template_end_ids(tokenizer: Any, special: frozenset[int]) -> frozenset[int]:
    """The special token with which the template ends a reply, where it is one.

    Many folders name only the end of a text as EOS, not the end of a turn.
    """
    rounds = [{"role": "user", "content": _MARK}, {"role": "assistant", "content": _MARK}]
    try:
        text = _apply(tokenizer, rounds, begin_reply=False)
    except ChatuiError:
        return frozenset()
    after = text.rpartition(_MARK)[2]
    ids: list[int] = tokenizer.encode(after, add_special_tokens=False) if after else []
    return frozenset(ids[:1]) & special
