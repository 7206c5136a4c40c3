"""Render a model's own chat template (Jinja) as transformers does."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.format import CHAT_TEMPLATE, Exchange, PromptFormat, Render
from chatui.prompting.parts import reply_for_history
from chatui.prompting.prompt_text import LiteralText, PromptText, TokenFinder, joined

Messages: TypeAlias = Sequence[Mapping[str, str]]
"""Messages with the keys "role" and "content"."""

THINKING_SWITCHES = ("enable_thinking", "thinking")
"""Variables that turn thinking on or off: Qwen3 and GLM-4.5; DeepSeek-V3.1 and Granite."""

_TOKEN_PREFIXES = ("<|", "<｜")
_THOUGHT_TAGS = ("<think>", "</think>")
_PLACEHOLDERS = range(0x100000, 0x10FFFE)


@dataclass(frozen=True)
class ChatTemplate:
    """A compiled template.

    Attributes:
        switch: variable that turns thinking on or off; None if the template has none.
        control_tokens: spellings that are control tokens if the template writes them.
    """

    _render: Callable[..., str]
    switch: str | None
    control_tokens: tuple[str, ...]

    @classmethod
    def compiled(
        cls, source: str, names: Mapping[str, str], tokens: Mapping[str, bool]
    ) -> ChatTemplate:
        """Compile ``source``.

        Args:
            names: special tokens by their names in templates, e.g. "bos_token".
            tokens: spelling of each added token of the tokenizer -> whether it is special. Others
                count as control tokens if the template writes them or they begin with "<|".

        Raises:
            ChatuiError: ``source`` is not a valid template.
        """
        from jinja2 import meta

        from chatui.prompting.template_sandbox import Sandbox

        try:
            sandbox = Sandbox()
            parsed = sandbox.parse(source)
            variables = meta.find_undeclared_variables(parsed)
            render = sandbox.limited(parsed, dict(names))
        except Exception as error:
            raise _template_error(error) from error
        control = [
            token
            for token, special in tokens.items()
            if special
            or token.startswith(_TOKEN_PREFIXES)
            or (token in source and not token.isspace())
        ]
        control += [tag for tag in _THOUGHT_TAGS if tag in source and tag not in tokens]
        switch = next((name for name in THINKING_SWITCHES if name in variables), None)
        return cls(render, switch, tuple(control))

    def render(
        self, messages: Messages, *, begin_reply: bool = True, thinking: bool | None = None
    ) -> str:
        """Render ``messages`` like ``apply_chat_template(tokenize=False)``.

        Args:
            begin_reply: end the prompt with the beginning of a reply.
            thinking: on or off, for a template with a switch; None for the template's default.

        Raises:
            ChatuiError: the template refuses the messages or fails.
        """
        switched = {self.switch: thinking} if self.switch and thinking is not None else {}
        try:
            return self._render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=begin_reply,
                tools=None,
                documents=None,
                **switched,
            )
        except Exception as error:
            # A template can fail with any exception, not only with Jinja's.
            raise _template_error(error) from error


def chat_template_format(template: ChatTemplate, source: str) -> PromptFormat:
    """Return the template as a prompt format.

    Special tokens in messages are text: while the template is rendered, placeholders replace them;
    in the prompt they are literal.

    Args:
        source: file of the template.
    """
    finder = TokenFinder(template.control_tokens, any_width=True)

    def renderer(thinking: bool | None) -> Render:
        def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
            texts = (query, system or "", *(text for exchange in history for text in exchange))
            placeholders = _Placeholders(finder, texts)
            messages = [
                {"role": role, "content": placeholders.insert(text)}
                for earlier, reply in history
                for role, text in (("user", earlier), ("assistant", reply_for_history(reply)))
            ]
            messages.append({"role": "user", "content": placeholders.insert(query)})
            system = placeholders.insert(system or "")
            return placeholders.restore(_with_system(template, messages, system, thinking))

        return render

    return PromptFormat(
        name=CHAT_TEMPLATE,
        render=renderer(None),
        source=source,
        thinking=renderer if template.switch else None,
        literal=True,
    )


def end_of_turn(template: ChatTemplate) -> str:
    """Return the text that the template writes after a reply; "" if unknown."""
    mark = "chatui"
    rounds = [{"role": "user", "content": mark}, {"role": "assistant", "content": mark}]
    try:
        return template.render(rounds, begin_reply=False).rpartition(mark)[2]
    except ChatuiError:
        return ""


def _with_system(
    template: ChatTemplate, messages: list[dict[str, str]], system: str, thinking: bool | None
) -> str:
    if not system:
        return template.render(messages, thinking=thinking)
    first = {"role": "system", "content": system}
    try:
        prompt = template.render([first, *messages], thinking=thinking)
        if system.strip() in prompt:
            return prompt
    except ChatuiError:
        pass
    # The template refuses or ignores system messages, so the first query contains it.
    query = {"role": "user", "content": f"{system}\n\n{messages[0]['content']}"}
    return template.render([query, *messages[1:]], thinking=thinking)


class _Placeholders:
    """Private-use characters that replace the special tokens in messages during rendering."""

    def __init__(self, finder: TokenFinder, texts: Collection[str]) -> None:
        self._finder = finder
        used = set().union(*texts)
        self._free = (chr(code) for code in _PLACEHOLDERS if chr(code) not in used)
        self._by_token: dict[str, str] = {}

    def insert(self, text: str) -> str:
        """Replace each special token in ``text`` by a placeholder."""
        parts, at = [], 0
        for start, end in self._finder.find(text):
            token = text[start:end]
            if token not in self._by_token:
                self._by_token[token] = next(self._free)
            parts += [text[at:start], self._by_token[token]]
            at = end
        return "".join(parts) + text[at:]

    def restore(self, prompt: str) -> PromptText:
        """Replace the placeholders in ``prompt`` by the tokens, as literal text."""
        if not self._by_token:
            return PromptText(prompt)
        tokens = {place: LiteralText(token) for token, place in self._by_token.items()}
        parts = re.split(f"([{''.join(tokens)}])", prompt)
        return joined(*(tokens.get(part, part) for part in parts))


def _template_error(error: Exception) -> ChatuiError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return ChatuiError(say("prompting.template_error", reason=reason))
