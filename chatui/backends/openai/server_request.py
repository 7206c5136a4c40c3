"""What is sent to servers: prompts, their lengths in tokens, and the fields of requests.

A prompt is a list of messages for the chat API, or a text in one of chatui's formats for the
completions API. The server counts its tokens if it can; otherwise the length is estimated.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx2

from chatui.backends.openai.chunk_decoder import as_list, as_object, as_string
from chatui.backends.openai.connection import Connection
from chatui.messages import GenerateRequest, ModelSpec
from chatui.prompting import formats
from chatui.prompting.chat_template import THINKING_SWITCHES
from chatui.prompting.format import CHAT_TEMPLATE, Exchange, PromptFormat
from chatui.prompting.parts import reply_for_history
from chatui.sampling import DEFAULTS, SETTINGS, SamplingSettings
from chatui.text import without_surrogates

Messages: TypeAlias = Sequence[dict[str, str]]
Prompt: TypeAlias = str | Messages
"""A rendered prompt, or messages that the server renders."""

Tokens: TypeAlias = tuple[tuple[int, ...], tuple[str, ...]]
"""Token ids of a prompt, and its pieces if the server reports them."""

_TOKENS_A_MESSAGE = 8
"""Estimated tokens that a chat template adds to a message; ChatML adds 5, GLM-4 3, Llama 3 4."""

_COUNT_SECONDS = 10.0
NO_TOKENS: Tokens = ((), ())
_log = logging.getLogger(__name__)


def prompt_as_text(prompt: Prompt) -> str:
    """Return the prompt for display, messages as JSON."""
    if isinstance(prompt, str):
        return prompt
    return json.dumps(list(prompt), ensure_ascii=False, indent=2)


CHAT = PromptFormat(CHAT_TEMPLATE, lambda *rounds: prompt_as_text(_messages(*rounds)))
"""The format for the chat API: the server renders messages with the model's template."""


def format_of(spec: ModelSpec) -> PromptFormat:
    """Return the format of the spec; :data:`CHAT` if it names none.

    Raises:
        ChatuiError: the format does not exist.
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
    """Render the prompt for ``query`` after ``history``.

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
        # Most templates drop the thoughts of earlier rounds, but not all.
        said += [("user", earlier), ("assistant", reply_for_history(reply))]
    said.append(("user", query))
    return [{"role": role, "content": without_surrogates(text)} for role, text in said]


def template_arguments(think: bool | None) -> dict[str, Any]:
    """Return the request field that switches thinking; {} leaves it to the model.

    vLLM, SGLang and llama-server pass its content to the template, which uses one of the names.
    """
    if think is None:
        return {}
    return {"chat_template_kwargs": dict.fromkeys(THINKING_SWITCHES, think)}


def estimate_tokens(prompt: Prompt) -> int:
    """Estimate the number of tokens, rather too high than too low.

    Counts one token for each non-ASCII character (a hanzi takes 0.6 to 0.8 tokens in today's
    vocabularies, 1 to 3 in LLaMA's first), and one for three ASCII characters.
    """
    if isinstance(prompt, str):
        ascii_count = sum(character < "\x80" for character in prompt)
        return len(prompt) - ascii_count + -(-ascii_count // 3) + 1
    return sum(estimate_tokens(message["content"]) + _TOKENS_A_MESSAGE for message in prompt)


@dataclass(frozen=True)
class ServerTokenizer:
    """The tokenizer endpoint of a server.

    Attributes:
        path: path of the endpoint, after the address without ``/v1``.
        field: name of the request field for the text.
        options: further request fields.
        chat: True if the endpoint also takes messages, and renders them.
    """

    connection: Connection
    path: str
    field: str
    options: dict[str, Any]
    chat: bool = False

    async def tokenize(self, prompt: Prompt, think: bool | None = None) -> Tokens:
        """Return the tokens of a prompt; empty if the server does not report them."""
        text = {self.field: prompt}
        if not isinstance(prompt, str):
            text = {"messages": prompt, **template_arguments(think)}
        body = {"model": self.connection.model, **text, **self.options}
        return _tokens_in(await self._ask(self.path, body))

    async def render(self, messages: Messages, think: bool | None = None) -> str:
        """Return the messages as the server's chat template renders them; "" if not available."""
        path = "/apply-template"
        body: dict[str, Any] = {"messages": list(messages), **template_arguments(think)}
        if self.chat:
            ids, _ = await self.tokenize(messages, think)
            path, body = "/detokenize", {"model": self.connection.model, "tokens": list(ids)}
        return as_string((await self._ask(path, body)).get("prompt"))

    async def count(self, prompt: Prompt, think: bool | None = None) -> int:
        """Return the length of a prompt in tokens; estimated if the server does not report it."""
        ids, _ = await self.tokenize(prompt, think)
        return len(ids) or estimate_tokens(prompt)

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post to an endpoint and return the JSON object of the answer; {} on any failure."""
        url = self.connection.url.removesuffix("/v1") + path
        try:
            answer = await self.connection.http.post(url, json=body, timeout=_COUNT_SECONDS)
            return as_object(answer.json() if answer.status_code == 200 else None)
        except (httpx2.HTTPError, ValueError) as error:
            _log.info("no answer from %s: %s", url, type(error).__name__)
            return {}


_ENDPOINTS: tuple[tuple[str, str, dict[str, Any], bool], ...] = (
    # vLLM and SGLang: vllm/entrypoints/serve/tokenize/protocol.py
    ("/tokenize", "prompt", {"return_token_strs": True}, True),
    # llama-server: tools/server/README.md
    ("/tokenize", "content", {"with_pieces": True, "add_special": True}, False),
    # llama-cpp-python: llama_cpp/server/app.py
    ("/extras/tokenize", "input", {}, False),
)


async def find_server_tokenizer(connection: Connection) -> ServerTokenizer | None:
    """Return the server's tokenizer; None without a known endpoint."""
    for endpoint in _ENDPOINTS:
        tokenizer = ServerTokenizer(connection, *endpoint)
        if (await tokenizer.tokenize("你好"))[0]:
            return tokenizer
    return None


def _tokens_in(answer: dict[str, Any]) -> Tokens:
    """Return the ids and pieces of an answer, in which a token is an id or an object with one."""
    tokens = answer.get("tokens")
    rows = [row if isinstance(row, dict) else {"id": row} for row in as_list(tokens)]
    ids: tuple[Any, ...] = tuple(row.get("id") for row in rows)
    if not all(isinstance(id, int) for id in ids):
        return NO_TOKENS
    pieces = answer.get("token_strs") or [row["piece"] for row in rows if "piece" in row]
    return ids, tuple(map(_piece, as_list(pieces)))


def _piece(piece: Any) -> str:
    """Return the text of a piece; llama-server sends incomplete characters as a list of bytes."""
    return bytes(piece).decode("utf-8", "replace") if isinstance(piece, list) else str(piece)


_LIMITS = frozenset(("max_new_tokens", "seed"))
"""Settings that are not part of :func:`sampling_fields`."""

_MOST_STOP_STRINGS = 4
"""OpenAI's limit; most other servers take any number."""

NEW_LIMIT_FIELD = "max_completion_tokens"
"""The name of ``max_tokens`` for OpenAI's newer models."""

_REQUIRED = frozenset(("model", "messages", "prompt", "stream"))

_ENDS_THE_REPLY = frozenset(("stop", "max_tokens", NEW_LIMIT_FIELD))

_EXTENSIONS = frozenset(
    {
        *("top_k", "min_p", "repetition_penalty", "repeat_penalty", "seed"),
        *("chat_template_kwargs", "stream_options", "logprobs", "top_logprobs"),
    }
)
"""Fields that some servers do not know."""


def sampling_fields(sampling: SamplingSettings, *, all_fields: bool) -> dict[str, Any]:
    """Return the fields for ``sampling``.

    Args:
        all_fields: also send settings at their defaults. Chat requests leave them to the server,
            which often knows the model's own. Completion requests send all, because servers have
            other defaults (llama-cpp-python: a repetition penalty of 1.1).

    ``top_k``, ``min_p`` and ``repetition_penalty`` are not part of OpenAI's API, but vLLM and
    SGLang (and, as ``repeat_penalty``, llama-server and Ollama) support them.
    """
    fields: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        value = getattr(sampling, name)
        if name in _LIMITS or (sampling.is_greedy and not setting.affects_greedy):
            continue
        if all_fields or value != getattr(DEFAULTS, name):
            fields |= dict.fromkeys(setting.server_fields, value)
    return fields | {"temperature": 0.0} if sampling.is_greedy else fields


def logprob_fields(top: int, *, chat: bool) -> dict[str, Any]:
    """Return the fields that ask for the ``top`` candidates of each token."""
    return {"logprobs": True, "top_logprobs": top} if chat else {"logprobs": top}


def requested_fields(request: GenerateRequest) -> set[str]:
    """Return the names of the fields that the user set, to report those that a server refuses."""
    names = {"stop", "max_tokens", *sampling_fields(request.sampling, all_fields=False)}
    if request.sampling.seed is not None:
        names.add("seed")
    if request.think is not None:
        names.add("chat_template_kwargs")
    if request.alternatives:
        names |= {"logprobs", "top_logprobs"}
    # The same setting as repetition_penalty, for other servers.
    return names - {"repeat_penalty"}


def unsupported_settings(sampling: SamplingSettings) -> tuple[str, ...]:
    """Return the names of the settings in use for which servers have no field."""
    return tuple(
        name
        for name in sampling.active_settings()
        if name != "greedy" and not SETTINGS[name].server_fields
    )


def drop_refused_fields(fields: Mapping[str, Any], complaint: str) -> dict[str, Any] | None:
    """Return the fields for another try after a server answered 400 or 422 with ``complaint``.

    Drops the fields that the complaint names; if it names none, first those that some servers do
    not know, then the other optional ones, and last the limits of the reply. ``max_tokens`` is
    renamed to ``max_completion_tokens`` if the complaint names that. None if no field is left to
    drop.
    """
    if NEW_LIMIT_FIELD in complaint and "max_tokens" in fields:
        changed = {name: value for name, value in fields.items() if name != "max_tokens"}
        return {**changed, NEW_LIMIT_FIELD: fields["max_tokens"]}
    optional = [name for name in fields if name not in _REQUIRED]
    words = frozenset(re.findall(r"\w+", complaint))
    named = {name for name in optional if name in words}
    if named == {"stop"} and len(fields["stop"]) > _MOST_STOP_STRINGS:
        return {**fields, "stop": fields["stop"][:_MOST_STOP_STRINGS]}
    dropped = (
        named
        or _EXTENSIONS.intersection(optional)
        or frozenset(optional) - _ENDS_THE_REPLY
        or frozenset(optional)
    )
    if not dropped:
        return None
    return {name: value for name, value in fields.items() if name not in dropped}
