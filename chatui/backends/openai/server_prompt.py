"""What a server is given to read: messages for its chat API, or a prompt in one of our formats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatui.backends.openai.token_counting import Messages, Prompt, Tokenizer, estimate
from chatui.messages import GenerateRequest, ModelSpec
from chatui.prompting import formats
from chatui.prompting.families import CHAT_TEMPLATE
from chatui.prompting.format import Exchange, PromptFormat, strip_reply
from chatui.prompting.parts import read_again
from chatui.prompting.window import fit_prompt
from chatui.text import without_surrogates


@dataclass(frozen=True)
class PromptApi:
    """The API that a conversation goes to: chat (messages) or completions (a prompt of ours).

    Attributes:
        format: our format for the completions API; None for the chat API.
    """

    format: PromptFormat | None

    @property
    def endpoint(self) -> str:
        return "/completions" if self.format else "/chat/completions"

    @property
    def name(self) -> str:
        return self.format.name if self.format else CHAT_TEMPLATE

    def stops_for(self, query: str) -> tuple[str, ...]:
        """The format's stop strings of the reply to ``query``."""
        return self.format.stops_for(query) if self.format else ()

    def clean(self, query: str, reply: str) -> str:
        """The reply to ``query`` as shown and kept."""
        return self.format.clean(query, reply) if self.format else strip_reply(reply)

    def render(self, history: Sequence[Exchange], query: str, system: str | None) -> Prompt:
        """What the server reads for ``query`` after ``history``."""
        if self.format:
            return without_surrogates(self.format.render(history, query, system))
        messages = [{"role": "system", "content": system}] if system else []
        for earlier, reply in history:
            messages.append({"role": "user", "content": earlier})
            # Thoughts of earlier rounds are not read again; most templates drop them, not all.
            messages.append({"role": "assistant", "content": read_again(reply)})
        messages.append({"role": "user", "content": query})
        return [
            {name: without_surrogates(value) for name, value in item.items()} for item in messages
        ]


def prompt_api(spec: ModelSpec) -> PromptApi:
    """The API that the spec asks for: ``format`` None or "chat-template" is the chat API.

    Raises:
        ChatuiError: there is no such format.
    """
    if spec.format is None or spec.format == CHAT_TEMPLATE:
        return PromptApi(None)
    return PromptApi(formats.get(spec.format))


@dataclass(frozen=True)
class ServerPrompt:
    """What the server will read, after the rounds that do not fit were dropped.

    Attributes:
        prompt: the prompt or the messages.
        history: the rounds in it.
        dropped_rounds: how many of the oldest rounds are not in it.
        tokens: the prompt's length, exact or estimated.
        exact: whether the server itself counted.
    """

    prompt: Prompt
    history: tuple[Exchange, ...]
    dropped_rounds: int
    tokens: int
    exact: bool

    @property
    def text(self) -> str:
        """The prompt for display."""
        return self.prompt if isinstance(self.prompt, str) else as_text(self.prompt)


async def fit(
    api: PromptApi,
    spec: ModelSpec,
    request: GenerateRequest,
    context_limit: int,
    tokenizer: Tokenizer | None,
) -> ServerPrompt:
    """The prompt with as many of the latest rounds as fit; all where no limit is known (0).

    Raises:
        ChatuiError: the query does not fit even alone.
    """
    system = spec.system if request.system is None else request.system
    whole = api.render(request.history, request.query, system)
    exact = tokenizer is not None and tokenizer.takes(whole)

    def fitted(count: Callable[[Prompt], int]) -> ServerPrompt:
        if not context_limit:
            return ServerPrompt(whole, request.history, 0, count(whole), exact)
        kept = fit_prompt(
            spec,
            request,
            context_limit,
            lambda history: api.render(history, request.query, system),
            count,
        )
        return ServerPrompt(kept.prompt, kept.history, kept.dropped_rounds, kept.tokens, exact)

    if tokenizer is None or not exact:
        return fitted(estimate)
    return await asyncio.to_thread(fitted, tokenizer.counter(asyncio.get_running_loop()))


def as_text(messages: Messages) -> str:
    """Messages for display, where the server does not tell how it renders them."""
    return json.dumps(list(messages), ensure_ascii=False, indent=2)
