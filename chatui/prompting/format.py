"""Prompt formats, which turn rounds into a prompt and clean up replies, and those of families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from chatui.messages import Done, Prefill, ReplyEvent, Token

Exchange: TypeAlias = tuple[str, str]
"""An earlier round as (query, reply)."""

Render: TypeAlias = Callable[[Sequence[Exchange], str, str | None], str]
"""(history, query, system) -> prompt. ``system`` None means the format's own, if it has one."""

_PLACEHOLDER = "\uf8ff"

CHAT_TEMPLATE = "chat-template"
"""Name of the prompt format of a model's own chat template."""

_FORMATS = {
    "bloom": "bloomz",
    "chatglm": "chatglm-6b",
    "gpt2": "gpt2-chinese",
    "llama": "alpaca:article",
    "moss": "moss",
    "rwkv": "chatrwkv",
}
_DEFAULT_FORMAT = "bloomz"

_WITHOUT_TEMPLATE = ("chatglm", "moss", "rwkv")
"""Families that use their own format even if their files include a chat template."""

_BY_CLASS = {
    "MossForCausalLM": "moss",
    "LLaMAForCausalLM": "llama",
    "LlamaForCausalLM": "llama",
    "BloomForCausalLM": "bloom",
    "GPT2LMHeadModel": "gpt2",
    "ChatGLMModel": "chatglm",
    "ChatGLMForConditionalGeneration": "chatglm",
    "RwkvForCausalLM": "rwkv",
}


def cut_at(*marks: str) -> Callable[[str], str]:
    """Return a function that cuts a reply at the first of ``marks`` and strips it."""

    def clean(text: str) -> str:
        for mark in marks:
            text = text.partition(mark)[0]
        return text.strip()

    return clean


@dataclass(frozen=True)
class PromptFormat:
    """A prompt format.

    Attributes:
        name: name for ``--format``, e.g. "chatglm-6b" or "chinese-vicuna:chat".
        render: function from rounds to the prompt.
        source: repository and file of the original.
        stop_strings: strings that end a reply, e.g. the beginning of the next round.
        clean_reply: function from the generated text to the reply that is shown and saved.
        system: the format's own system prompt or preamble; None if it has none.
        free_text: function that is true for a query that asks for free text, which has no stop
            strings and no clean-up; None if the format has no such queries.
        free_text_tokens: default limit of a free text, in tokens; None for no limit.
        thinking: function that returns the renderer with thinking on (True), off (False) or by the
            model's default (None); None if thinking cannot be switched.
        literal: whether special tokens in messages are text. The formats of 2023 read them as
            special tokens, like their originals.
        fixed_answer: function that returns the answer to a query that needs no model, e.g. a
            command that clears the chat, and None for others; None if the format has no such
            queries.
    """

    name: str
    render: Render
    source: str = ""
    stop_strings: tuple[str, ...] = ()
    clean_reply: Callable[[str], str] = str.strip
    system: str | None = None
    free_text: Callable[[str], bool] | None = None
    free_text_tokens: int | None = None
    thinking: Callable[[bool | None], Render] | None = None
    literal: bool = False
    fixed_answer: Callable[[str], str | None] | None = None

    def renderer(self, thinking: bool | None) -> Render:
        """Return the renderer with thinking on, off or by default; the same without a switch."""
        return self.render if self.thinking is None else self.thinking(thinking)

    def stops_for(self, query: str) -> tuple[str, ...]:
        """Return the stop strings of the reply to ``query``."""
        return () if self.is_free_text(query) else self.stop_strings

    def answer_to(self, query: str) -> str | None:
        """Return the fixed answer to a query that needs no model; None for other queries."""
        return self.fixed_answer(query) if self.fixed_answer is not None else None

    def is_free_text(self, query: str) -> bool:
        """True if ``query`` asks for free text."""
        return self.free_text is not None and self.free_text(query)

    def reply_start(self, query: str, text: str) -> str:
        """Return the text after the prompt of ``query`` for a reply that begins with ``text``.

        It includes what the format writes before replies of earlier rounds, e.g. a space.
        """
        prompt = self.render((), query, None)
        later = self.render(((query, _PLACEHOLDER),), "", None)
        if text[:1].isspace() or _PLACEHOLDER not in later or not later.startswith(prompt):
            return text
        return later[len(prompt) : later.index(_PLACEHOLDER)] + text

    def clean(self, query: str, text: str) -> str:
        """Return the reply to ``query`` as shown and saved."""
        return text if self.is_free_text(query) else self.clean_reply(text)


def dialogue(
    name: str,
    source: str,
    *,
    asked: str,
    answered: str,
    opening: str = "{system}\n",
    system: str | None = None,
    first: int = 0,
    stops: Sequence[str] = (),
    strip_query: bool = False,
) -> PromptFormat:
    """Return a format whose prompt is an opening followed by rounds of one pattern.

    Args:
        asked: template of a round up to the reply, with ``{query}`` and optionally ``{number}``.
        answered: template of the rest of a round, with ``{reply}``.
        opening: template of the opening, with ``{system}``; left out without a system prompt.
        system: the format's own system prompt.
        first: number of the first round.
        stops: stop strings; finished replies are cut at them too.
        strip_query: strip white space from queries.
    """

    def ask(query: str, number: int) -> str:
        return asked.format(query=query.strip() if strip_query else query, number=number)

    def render(history: Sequence[Exchange], query: str, given: str | None = None) -> str:
        text = system if given is None else given
        parts = [opening.format(system=text)] if text else []
        for number, (earlier, reply) in enumerate(history, first):
            parts += [ask(earlier, number), answered.format(reply=reply)]
        return "".join([*parts, ask(query, first + len(history))])

    return PromptFormat(name, render, source, tuple(stops), cut_at(*stops), system)


def fixed_reply(answer: str, context_limit: int) -> tuple[ReplyEvent, ...]:
    """Return the events of a reply that is ``answer``, without a model."""
    return Prefill("", context_limit=context_limit), Token(answer), Done(answer, "stop")


def format_of(family: str, *, has_chat_template: bool) -> str:
    """Return the name of the prompt format of a model without a preset."""
    if has_chat_template and family not in _WITHOUT_TEMPLATE:
        return CHAT_TEMPLATE
    return _FORMATS.get(family, _DEFAULT_FORMAT)


def first_class(config: dict[str, Any]) -> str:
    """Return the first name in a config's ``architectures``; "" without any."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list | tuple) and names else ""


def model_type_of(config: dict[str, Any]) -> str:
    """Return a config's ``model_type``, else the family of its class; "" if unknown."""
    found = config.get("model_type") or _BY_CLASS.get(first_class(config))
    return found if isinstance(found, str) else ""
