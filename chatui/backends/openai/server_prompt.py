"""The prompt that a server reads, and its length in tokens.

Messages for the chat API, or a prompt in one of chatui's formats for the completions API. Lengths
are asked of the server if it tells them, else estimated.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx2

from chatui.messages import ModelSpec
from chatui.prompting import formats
from chatui.prompting.chat_template import THINKING_SWITCHES
from chatui.prompting.families import CHAT_TEMPLATE
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.parts import reply_for_history
from chatui.text import without_surrogates

Messages: TypeAlias = Sequence[dict[str, str]]
Prompt: TypeAlias = str | Messages
"""A rendered prompt, or the messages that the server will render."""

Tokens: TypeAlias = tuple[tuple[int, ...], tuple[str, ...]]
"""A prompt's ids, and its pieces if the server shows them."""

_TOKENS_A_MESSAGE = 8
"""What a chat template adds around a message; ChatML adds 5, GLM-4 3, Llama 3 4."""

_COUNT_SECONDS = 10.0
NO_TOKENS: Tokens = ((), ())
_log = logging.getLogger(__name__)


def prompt_as_text(prompt: Prompt) -> str:
    """The prompt for display: messages as JSON, if the server does not tell how it renders them."""
    if isinstance(prompt, str):
        return prompt
    return json.dumps(list(prompt), ensure_ascii=False, indent=2)


CHAT = PromptFormat(CHAT_TEMPLATE, lambda *rounds: prompt_as_text(_messages(*rounds)))
"""The chat API: the server renders the messages with the model's own template."""


def format_of(spec: ModelSpec) -> PromptFormat:
    """The format that the spec asks for; :data:`CHAT` if it names none.

    Raises:
        ChatuiError: there is no such format.
    """
    name = spec.format or CHAT_TEMPLATE
    return CHAT if name == CHAT_TEMPLATE else formats.get(name)


def render(
    format: PromptFormat,
    history: Sequence[Exchange],
    query: str,
    system: str | None,
    begun: str = "",
) -> Prompt:
    """What the server reads for ``query`` after ``history``.

    Args:
        begun: the beginning of the reply, for a format other than :data:`CHAT`.
    """
    if format is CHAT:
        return _messages(history, query, system)
    prompt = format.render(history, query, system)
    return without_surrogates(prompt + (format.reply_start(query, begun) if begun else ""))


def _messages(history: Sequence[Exchange], query: str, system: str | None) -> Messages:
    said = [("system", system)] if system else []
    for earlier, reply in history:
        # Thoughts of earlier rounds are not read again; most templates drop them, not all.
        said += [("user", earlier), ("assistant", reply_for_history(reply))]
    said.append(("user", query))
    return [{"role": role, "content": without_surrogates(text)} for role, text in said]


def template_arguments(think: bool | None) -> dict[str, Any]:
    """The request field that switches thinking; {} to leave it to the model.

    vLLM, SGLang and llama-server give its content to the template, which knows one of the names.
    """
    if think is None:
        return {}
    return {"chat_template_kwargs": dict.fromkeys(THINKING_SWITCHES, think)}


def estimate_tokens(prompt: Prompt) -> int:
    """Estimate the number of tokens, rather too many than too few.

    One for each character beyond ASCII (today's vocabularies need 0.6 to 0.8 for a hanzi, LLaMA's
    first one 1 to 3) and one for three of ASCII.
    """
    if isinstance(prompt, str):
        ascii_count = sum(character < "\x80" for character in prompt)
        return len(prompt) - ascii_count + -(-ascii_count // 3) + 1
    return sum(estimate_tokens(message["content"]) + _TOKENS_A_MESSAGE for message in prompt)


@dataclass(frozen=True)
class ServerTokenizer:
    """A server's endpoint for tokens.

    Attributes:
        root: the server's address, without ``/v1``.
        path: of the endpoint.
        field: of the request that holds the text.
        options: further fields.
        chat: whether the endpoint also takes messages and renders them.
    """

    http: httpx2.AsyncClient
    root: str
    model: str
    path: str
    field: str
    options: dict[str, Any]
    chat: bool = False

    async def tokenize(self, prompt: Prompt, think: bool | None = None) -> Tokens:
        """The prompt's tokens; empty if the server does not tell."""
        text = {self.field: prompt}
        if not isinstance(prompt, str):
            text = {"messages": prompt, **template_arguments(think)}
        body = {"model": self.model, **text, **self.options}
        return _tokens_in(await self._ask(self.path, body))

    async def render(self, messages: Messages, think: bool | None = None) -> str:
        """The messages as the server's chat template renders them; "" if it does not tell."""
        path = "/apply-template"
        body: dict[str, Any] = {"messages": list(messages), **template_arguments(think)}
        if self.chat:
            ids, _ = await self.tokenize(messages, think)
            path, body = "/detokenize", {"model": self.model, "tokens": list(ids)}
        prompt = (await self._ask(path, body)).get("prompt")
        return prompt if isinstance(prompt, str) else ""

    async def count(self, prompt: Prompt, think: bool | None = None) -> int:
        """The prompt's length in tokens; estimated if the server does not tell."""
        ids, _ = await self.tokenize(prompt, think)
        return len(ids) or estimate_tokens(prompt)

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object of an answer; {} if there is none."""
        try:
            answer = await self.http.post(self.root + path, json=body, timeout=_COUNT_SECONDS)
            told = answer.json() if answer.status_code == 200 else None
        except (httpx2.HTTPError, ValueError) as error:
            _log.info("no answer from %s%s: %s", self.root, path, type(error).__name__)
            told = None
        return told if isinstance(told, dict) else {}


_ENDPOINTS: tuple[tuple[str, str, dict[str, Any], bool], ...] = (
    # vLLM and SGLang: vllm/entrypoints/serve/tokenize/protocol.py
    ("/tokenize", "prompt", {"return_token_strs": True}, True),
    # llama-server: tools/server/README.md
    ("/tokenize", "content", {"with_pieces": True, "add_special": True}, False),
    # llama-cpp-python: llama_cpp/server/app.py
    ("/extras/tokenize", "input", {}, False),
)


async def find_server_tokenizer(
    http: httpx2.AsyncClient, base: str, model: str
) -> ServerTokenizer | None:
    """The server's tokenizer, if it has an endpoint that we know."""
    for endpoint in _ENDPOINTS:
        tokenizer = ServerTokenizer(http, base.removesuffix("/v1"), model, *endpoint)
        if (await tokenizer.tokenize("你好"))[0]:
            return tokenizer
    return None


def _tokens_in(answer: dict[str, Any]) -> Tokens:
    tokens = answer.get("tokens")
    if not isinstance(tokens, list):
        return NO_TOKENS
    if all(isinstance(token, int) for token in tokens):
        return tuple(tokens), tuple(map(str, answer.get("token_strs") or ()))
    if all(isinstance(token, dict) and isinstance(token.get("id"), int) for token in tokens):
        return (
            tuple(token["id"] for token in tokens),
            tuple(_piece(token.get("piece")) for token in tokens),
        )
    return NO_TOKENS


def _piece(piece: Any) -> str:
    """llama-server gives a piece that is no whole character as a list of bytes."""
    if isinstance(piece, list):
        return bytes(piece).decode("utf-8", "replace")
    return str(piece or "")
