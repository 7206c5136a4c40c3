"""The backend for OpenAI-compatible servers (see :class:`~chatui.backends.protocol.Backend`)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from chatui.backends.openai.address import Key, base_url, host_of
from chatui.backends.openai.client import ServerClient
from chatui.backends.openai.deltas import ReplyReader
from chatui.backends.openai.model_list import ask_with_key, choose_model, http_client, list_models
from chatui.backends.openai.request_fields import (
    logprob_fields,
    requested_fields,
    unsupported_settings,
)
from chatui.backends.openai.server_errors import (
    ContextExceededError,
    KeyWantedError,
    NoModelListError,
    RequestTarget,
    with_server_message,
)
from chatui.backends.openai.server_prompt import (
    NO_TOKENS,
    Prompt,
    find_server_tokenizer,
    format_of,
    prompt_as_text,
)
from chatui.backends.openai.streamed_reply import StreamedReply
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import (
    GenerateRequest,
    Inspection,
    Loaded,
    LoadEvent,
    Loading,
    ModelSpec,
    Prefill,
    ReplyEvent,
    Token,
)
from chatui.prompting.format import PromptFormat, fixed_reply
from chatui.prompting.window import FittedPrompt

_MAX_TRIES = 5
_LONG_PROMPT_TOKENS = 3000
"""Shorter prompts are expected to fit, with their reply, into the context of any server."""


class OpenAIBackend:
    """Talks to one model on a server (see ``Backend`` for the methods)."""

    def __init__(self) -> None:
        self._client: ServerClient | None = None
        self._reply: StreamedReply | None = None
        self._turn = asyncio.Lock()

    async def load(self, spec: ModelSpec) -> AsyncIterator[LoadEvent]:
        started = time.perf_counter()
        url = base_url(spec.server or "")
        format = format_of(spec)
        yield Loading(host_of(url))
        try:
            client = await ask_with_key(url, spec.key_env, partial(_connected, spec, url, format))
        except KeyWantedError as error:
            if not (error.only_for_list and spec.path):
                raise
            client = await _connected(spec, url, format, None, has_list=False)
        notes = list(spec.notes)
        if missing := unsupported_settings(spec.sampling):
            notes.append(say("backends.settings_not_sent", names=", ".join(missing)))
        former, self._client = self._client, client
        if former is not None:
            await former.close()
        yield Loaded(
            name=_name(spec, client.target.model),
            family=spec.family or "",
            format=format.name,
            context_limit=client.context_limit,
            device=host_of(url),
            dtype="",
            load_seconds=time.perf_counter() - started,
            can_switch_thinking=client.chat,
            can_continue=not client.chat,
            notes=tuple(notes),
        )

    async def generate(self, request: GenerateRequest) -> AsyncIterator[ReplyEvent]:
        client = self._require()
        answer = client.format.answer_to(request.query)
        if answer is not None:
            for event in fixed_reply(answer, request.limit(client.context_limit)):
                yield event
            return
        if request.partial_reply is not None and client.chat:
            raise ChatuiError(say("backends.cannot_go_on"))
        seed = request.sampling.seed
        seed = secrets.randbelow(1 << 31) if seed is None else seed
        stops = (
            *client.format.stops_for(request.query),
            *client.spec.stop_strings,
            *request.stop_strings,
        )
        begun = request.partial_reply.text if request.partial_reply else ""

        def clean(text: str) -> str:
            return client.format.clean(request.query, begun + text)

        async with self._turn:
            reply = self._reply = StreamedReply(stops, clean, seed, client.target.url)
            try:
                async for event in reply.events(_answer(client, request, reply)):
                    yield event
            finally:
                self._reply = None

    async def inspect(self, request: GenerateRequest, top: int = 8) -> Inspection:
        client = self._require()
        prompt = await client.fit(request)
        text = prompt_as_text(prompt.prompt)
        if client.tokenizer is not None and not isinstance(prompt.prompt, str):
            text = await client.tokenizer.render(prompt.prompt, request.think) or text
        think = request.think if client.chat else None
        counter = client.counter
        ids, pieces = await counter.tokenize(prompt.prompt, think) if counter else NO_TOKENS
        body = (
            client.body(request, prompt) | {"max_tokens": 1} | logprob_fields(top, chat=client.chat)
        )
        try:
            answer = await client.ask(body | {"max_tokens": 1})
        except ContextExceededError as error:
            raise ChatuiError(_too_long(client, error)) from error
        reader = ReplyReader()
        tokens = reader.read(answer)
        return Inspection(
            prompt=text,
            input_ids=ids,
            tokens=pieces,
            context_used=reader.prompt_tokens or len(ids) or prompt.tokens,
            context_limit=client.context_limit,
            dropped_rounds=prompt.dropped_rounds,
            next=tokens[0].alternatives[:top] if tokens else (),
        )

    async def stop(self) -> None:
        if self._reply is not None:
            self._reply.stop()

    async def close(self) -> None:
        await self.stop()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _require(self) -> ServerClient:
        if self._client is None:
            raise BackendLost(say("backends.not_loaded"))
        return self._client


def _name(spec: ModelSpec, model: str) -> str:
    """Return the spec's name, with the model's if the server chose it."""
    named = spec.path or spec.name.endswith(f":{model}")
    return spec.name if named else f"{spec.name}:{model}"


async def _connected(
    spec: ModelSpec, url: str, format: PromptFormat, key: Key | None, has_list: bool = True
) -> ServerClient:
    """Connect to the server, and choose and describe the model."""
    target = RequestTarget(url, spec.path, key, spec.key_env)
    client = ServerClient(spec, target, format, http_client(target))
    try:
        try:
            listed = await list_models(client.http, target) if has_list else ()
        except NoModelListError:
            # Some gateways have no list of models; then trust the name.
            if not spec.path:
                raise
            listed = ()
        model = choose_model(listed, spec.path, url)
        client.target = replace(target, model=model.id)
        limits = (spec.context, spec.context_limit, model.context_limit)
        client.context_limit = min(filter(None, limits), default=0)
        client.tokenizer = await find_server_tokenizer(client.http, url, model.id)
    except BaseException:
        await client.close()
        raise
    return client


async def _answer(
    client: ServerClient, request: GenerateRequest, reply: StreamedReply
) -> AsyncGenerator[Prefill | list[Token], None]:
    """Send the request, and again with fewer rounds if the server finds it too long.

    Yields a ``Prefill`` before the first tokens.
    """
    prompt = await client.fit(request)
    extra = {"seed": reply.seed, "stream_options": {"include_usage": True}}
    if reply.stop_strings:
        extra["stop"] = list(reply.stop_strings)
    if request.alternatives:
        extra |= logprob_fields(request.alternatives, chat=client.chat)
    for tries_left in reversed(range(_MAX_TRIES)):
        body = client.body(request, prompt) | extra
        begun = False
        try:
            async with aclosing(client.stream(body, reply.reader)) as chunks:
                async for tokens in chunks:
                    if not begun and (tokens or reply.reader.finish):
                        begun = True
                        yield _prefill(client, request, prompt, reply.seed)
                    yield tokens
            if not begun:
                yield _prefill(client, request, prompt, reply.seed)
            return
        except ContextExceededError as error:
            if not prompt.history or not tries_left:
                raise ChatuiError(_too_long(client, error)) from error
            kept = prompt.history[-(-len(prompt.history) // 3) :]
            shorter = await client.fit(replace(request, history=kept))
            dropped = len(request.history) - len(shorter.history)
            prompt = replace(shorter, dropped_rounds=dropped)


def _prefill(
    client: ServerClient, request: GenerateRequest, prompt: FittedPrompt[Prompt], seed: int
) -> Prefill:
    return Prefill(
        prompt=prompt_as_text(prompt.prompt),
        prompt_tokens=prompt.tokens if client.counter else 0,
        context_limit=request.limit(client.context_limit),
        dropped_rounds=prompt.dropped_rounds,
        seed=seed,
        notes=tuple(_new_notes(client, request, prompt)),
    )


def _new_notes(
    client: ServerClient, request: GenerateRequest, prompt: FittedPrompt[Prompt]
) -> Iterator[str]:
    """Yield notes on lengths and refused fields that were not shown before."""
    notes = []
    if prompt.dropped_rounds and not client.counter:
        notes.append(say("backends.lengths_estimated"))
    elif prompt.tokens > _LONG_PROMPT_TOKENS and not client.context_limit:
        notes.append(say("backends.limit_unknown"))
    if request.think is not None and not client.chat:
        notes.append(say("prompting.no_thinking_switch"))
    if refused := sorted(client.refused_fields & requested_fields(request)):
        notes.append(say("backends.fields_refused", names=", ".join(refused)))
    for note in notes:
        if note not in client.shown_notes:
            client.shown_notes.add(note)
            yield note


def _too_long(client: ServerClient, error: ContextExceededError) -> str:
    return with_server_message(say("backends.too_long", url=client.target.url), str(error))
