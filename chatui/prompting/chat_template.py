"""A model's own chat template (Jinja), rendered as transformers renders it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.families import CHAT_TEMPLATE
from chatui.prompting.format import Exchange, PromptFormat, Render
from chatui.prompting.parts import reply_for_history
from chatui.prompting.prompt_text import PromptText, TokenFinder

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Messages: TypeAlias = Sequence[Mapping[str, str]]
"""Messages with the keys "role" and "content"."""

THINKING_SWITCHES = ("enable_thinking", "thinking")
"""Variables that turn thinking on or off: Qwen3 and GLM-4.5; DeepSeek-V3.1 and Granite."""

_MARK_BEGINS = ("<|", "<｜")
_THOUGHT_MARKS = ("<think>", "</think>")
_STAND_INS = range(0x100000, 0x10FFFE)


@dataclass(frozen=True)
class ChatTemplate:
    """A compiled template.

    Attributes:
        switch: the variable that turns thinking on or off; None if the template has none.
        control: spellings that are never text where the template writes them.
    """

    _render: Callable[..., str]
    switch: str | None
    control: tuple[str, ...]

    @classmethod
    def compiled(
        cls, source: str, names: Mapping[str, str], tokens: Mapping[str, bool]
    ) -> ChatTemplate:
        """Compile ``source``.

        Args:
            names: the special tokens by the names that templates use, e.g. "bos_token".
            tokens: spellings of the tokenizer's added tokens, and whether each is special. Others
                count as control tokens if the template writes them or they look like marks.

        Raises:
            ChatuiError: ``source`` is no valid template.
        """
        from jinja2 import meta

        try:
            environment = _environment()
            parsed = environment.parse(source)
            variables = meta.find_undeclared_variables(parsed)
            template = environment.from_string(parsed, globals=dict(names))
        except Exception as error:
            raise _broken(error) from error
        control = [
            token
            for token, special in tokens.items()
            if special
            or token.startswith(_MARK_BEGINS)
            or (token in source and not token.isspace())
        ]
        control += [mark for mark in _THOUGHT_MARKS if mark in source and mark not in tokens]
        switch = next((name for name in THINKING_SWITCHES if name in variables), None)
        return cls(template.render, switch, tuple(control))

    def render(
        self, messages: Messages, *, begin_reply: bool = True, thinking: bool | None = None
    ) -> str:
        """The prompt of ``messages``, as ``apply_chat_template(tokenize=False)`` gives it.

        Args:
            begin_reply: end with what begins a reply.
            thinking: on or off, for a template with a switch; None leaves it to the template.

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
            # Templates are programs of others: Jinja's errors and whatever they raise themselves.
            raise _broken(error) from error


def chat_template_format(template: ChatTemplate, source: str) -> PromptFormat:
    """The template as a prompt format.

    Special tokens in messages are text: the template sees stand-ins for them, and the prompt marks
    them as literal.

    Args:
        source: where the template was read.
    """
    finder = TokenFinder(template.control, any_width=True)

    def renderer(thinking: bool | None) -> Render:
        def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
            stand_ins = _StandIns(finder, (query, system or "", *(t for e in history for t in e)))
            messages = [
                {"role": role, "content": stand_ins.put(text)}
                for asked, answered in history
                for role, text in (("user", asked), ("assistant", reply_for_history(answered)))
            ]
            messages.append({"role": "user", "content": stand_ins.put(query)})
            prompt = _with_system(template, messages, stand_ins.put(system or ""), thinking)
            return stand_ins.take_out(prompt)

        return render

    return PromptFormat(
        name=CHAT_TEMPLATE,
        render=renderer(None),
        source=source,
        thinking=renderer if template.switch else None,
        literal=True,
    )


def end_of_turn(template: ChatTemplate) -> str:
    """What the template writes after a reply; "" if it cannot be told."""
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
    # The template refuses or ignores system messages: the first query carries it.
    query = {"role": "user", "content": f"{system}\n\n{messages[0]['content']}"}
    return template.render([query, *messages[1:]], thinking=thinking)


class _StandIns:
    """Private-use characters in place of the special tokens that messages spell."""

    def __init__(self, finder: TokenFinder, texts: Collection[str]) -> None:
        self._finder = finder
        used = set().union(*texts)
        self._free = (chr(code) for code in _STAND_INS if chr(code) not in used)
        self._by_token: dict[str, str] = {}

    def put(self, text: str) -> str:
        """``text`` with a stand-in for each special token."""
        parts, at = [], 0
        for start, end in self._finder.find(text):
            token = text[start:end]
            if token not in self._by_token:
                self._by_token[token] = next(self._free)
            parts += [text[at:start], self._by_token[token]]
            at = end
        return "".join(parts) + text[at:]

    def take_out(self, prompt: str) -> PromptText:
        """The prompt with the tokens' spellings again, which are literal."""
        tokens = {stand_in: token for token, stand_in in self._by_token.items()}
        if not tokens:
            return PromptText(prompt)
        parts: list[str] = []
        literal, at = [], 0
        for character in prompt:
            part = tokens.get(character, character)
            if character in tokens:
                literal.append((at, at + len(part)))
            parts.append(part)
            at += len(part)
        return PromptText("".join(parts), tuple(literal))


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as transformers sets it up (utils/chat_template_utils.py)."""
    from jinja2 import ext, nodes
    from jinja2.exceptions import TemplateError
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(ext.Extension):
        """``{% generation %}`` marks what a model wrote, for training; its body is kept."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


def _broken(error: Exception) -> ChatuiError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return ChatuiError(say("prompting.template_error", reason=reason))
