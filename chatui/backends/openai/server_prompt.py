"""What a server is given to read, and its length in tokens.

Messages for the chat API, or a prompt in one of chatui's formats for the completions API. Lengths
are asked of the server if it tells them, else estimated.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx2

from chatui.backends.openai.address import root_url
from chatui.messages import GenerateRequest, ModelSpec
from chatui.prompting import formats
from chatui.prompting.chat_template import THINKING_SWITCHES
from chatui.prompting.families import CHAT_TEMPLATE
from chatui.prompting.format import Exchange, PromptFormat, strip_reply
from chatui.prompting.parts import read_again
from chatui.prompting.window import fit_prompt
from chatui.text import without_surrogates

Messages: TypeAlias = Sequence[dict[str, str]]
Prompt: TypeAlias = str | Messages
"""A rendered prompt, or the messages that the server will render."""

_TOKENS_A_MESSAGE = 8
"""What a chat template adds around a message; ChatML adds 5, GLM-4 3, Llama 3 4."""

_COUNT_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenized:
    """A prompt as the server's tokenizer sees it; ``pieces`` only where the server shows them."""

    ids: tuple[int, ...]
    pieces: tuple[str, ...] = ()


def template_arguments(think: bool | None) -> dict[str, Any]:
    """The request field that switches thinking; {} to leave it to the model.

    vLLM, SGLang and llama-server give its content to the template, which knows one of the names.
    """
    if think is None:
        return {}
    return {"chat_template_kwargs": dict.fromkeys(THINKING_SWITCHES, think)}


def estimate(prompt: Prompt) -> int:
    """About how many tokens, rather too many than too few.

    One for each character beyond ASCII (today's vocabularies need 0.6 to 0.8 for a hanzi, LLaMA's
    first one 1 to 3) and one for three of ASCII.
    """
    if isinstance(prompt, str):
        ascii_count = sum(character < "\x80" for character in prompt)
        return len(prompt) - ascii_count + -(-ascii_count // 3) + 1
    return sum(estimate(message["content"]) + _TOKENS_A_MESSAGE for message in prompt)


@dataclass(frozen=True)
class TokenizeEndpoint:
    """One server's way to be asked for tokens.

    Attributes:
        path: below the server's root.
        field: of the request that holds the text.
        extra: further fields.
        chat: whether the endpoint also takes messages and renders them.
    """

    path: str
    field: str
    extra: tuple[tuple[str, Any], ...] = ()
    chat: bool = False


_ENDPOINTS = (
    # vLLM and SGLang: vllm/entrypoints/serve/tokenize/protocol.py
    TokenizeEndpoint("/tokenize", "prompt", (("return_token_strs", True),), chat=True),
    # llama-server: tools/server/README.md
    TokenizeEndpoint("/tokenize", "content", (("with_pieces", True), ("add_special", True))),
    # llama-cpp-python: llama_cpp/server/app.py
    TokenizeEndpoint("/extras/tokenize", "input"),
)


class Tokenizer:
    """Asks one server for tokens."""

    def __init__(
        self, http: httpx2.AsyncClient, base: str, model: str, endpoint: TokenizeEndpoint
    ) -> None:
        self._http = http
        self._root = root_url(base)
        self._model = model
        self._endpoint = endpoint

    def takes(self, prompt: Prompt) -> bool:
        """Whether the server can count this kind of prompt exactly."""
        return isinstance(prompt, str) or self._endpoint.chat

    async def tokenize(self, prompt: Prompt, think: bool | None = None) -> Tokenized | None:
        """The prompt's tokens; None if the server does not tell."""
        field = self._endpoint.field if isinstance(prompt, str) else "messages"
        body = {"model": self._model, field: prompt, **dict(self._endpoint.extra)}
        body |= template_arguments(think)
        try:
            answer = await self._http.post(
                self._root + self._endpoint.path, json=body, timeout=_COUNT_SECONDS
            )
            return _tokens_of(answer.json()) if answer.status_code == 200 else None
        except (httpx2.HTTPError, ValueError) as error:
            _log.info("no tokens from %s: %s", self._root, type(error).__name__)
            return None

    async def render(self, messages: Messages, think: bool | None = None) -> str:
        """The messages as the server's chat template renders them; "" if it does not tell."""
        if self._endpoint.chat:
            tokenized = await self.tokenize(messages, think)
            if tokenized is None:
                return ""
            body: dict[str, Any] = {"model": self._model, "tokens": list(tokenized.ids)}
            return await self._prompt_from("/detokenize", body)
        body = {"messages": list(messages), **template_arguments(think)}
        return await self._prompt_from("/apply-template", body)

    async def _prompt_from(self, path: str, body: dict[str, Any]) -> str:
        try:
            answer = await self._http.post(self._root + path, json=body, timeout=_COUNT_SECONDS)
            prompt = answer.json().get("prompt") if answer.status_code == 200 else None
        except (httpx2.HTTPError, ValueError, AttributeError) as error:
            _log.info("no prompt from %s: %s", self._root, type(error).__name__)
            return ""
        return prompt if isinstance(prompt, str) else ""

    async def count(self, prompt: Prompt) -> int:
        """The prompt's length in tokens; estimated if the server does not tell."""
        if not self.takes(prompt):
            return estimate(prompt)
        tokenized = await self.tokenize(prompt)
        return len(tokenized.ids) if tokenized else estimate(prompt)

    def counter(self, loop: asyncio.AbstractEventLoop) -> Callable[[Prompt], int]:
        """A plain function for use in another thread while ``loop`` runs."""

        def count(prompt: Prompt) -> int:
            return asyncio.run_coroutine_threadsafe(self.count(prompt), loop).result()

        return count


async def find_tokenizer(http: httpx2.AsyncClient, base: str, model: str) -> Tokenizer | None:
    """The server's tokenizer, if it has an endpoint that we know."""
    for endpoint in _ENDPOINTS:
        tokenizer = Tokenizer(http, base, model, endpoint)
        answer = await tokenizer.tokenize("你好")
        if answer is not None and answer.ids:
            return tokenizer
    return None


def _tokens_of(answer: Any) -> Tokenized | None:
    tokens = answer.get("tokens") if isinstance(answer, dict) else None
    if not isinstance(tokens, list):
        return None
    if all(isinstance(token, int) for token in tokens):
        pieces = answer.get("token_strs") or ()
        return Tokenized(tuple(tokens), tuple(str(piece) for piece in pieces))
    if all(isinstance(token, dict) and isinstance(token.get("id"), int) for token in tokens):
        return Tokenized(
            tuple(token["id"] for token in tokens),
            tuple(_piece(token.get("piece")) for token in tokens),
        )
    return None


def _piece(piece: Any) -> str:
    """llama-server gives a piece that is no whole character as a list of bytes."""
    if isinstance(piece, list):
        return bytes(piece).decode("utf-8", "replace")
    return str(piece or "")


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

    def render(
        self, history: Sequence[Exchange], query: str, system: str | None, begun: str = ""
    ) -> Prompt:
        """What the server reads for ``query`` after ``history``.

        Args:
            begun: the beginning of the reply, for a format of ours.
        """
        if self.format:
            prompt = self.format.render(history, query, system)
            return without_surrogates(prompt + (self.format.begun(query, begun) if begun else ""))
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
    begun = request.begun.text if request.begun else ""
    whole = api.render(request.history, request.query, system, begun)
    exact = tokenizer is not None and tokenizer.takes(whole)

    def fitted(count: Callable[[Prompt], int]) -> ServerPrompt:
        if not context_limit:
            return ServerPrompt(whole, request.history, 0, count(whole), exact)
        kept = fit_prompt(
            spec,
            request,
            context_limit,
            lambda history: api.render(history, request.query, system, begun),
            count,
        )
        return ServerPrompt(kept.prompt, kept.history, kept.dropped_rounds, kept.tokens, exact)

    if tokenizer is None or not exact:
        return fitted(estimate)
    return await asyncio.to_thread(fitted, tokenizer.counter(asyncio.get_running_loop()))


def as_text(messages: Messages) -> str:
    """Messages for display, if the server does not tell how it renders them."""
    return json.dumps(list(messages), ensure_ascii=False, indent=2)
