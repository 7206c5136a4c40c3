"""The backend for OpenAI-compatible servers (see :class:`~chatui.backends.protocol.Backend`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

from chatui.backends.openai import server_request
from chatui.backends.openai.address import Key, base_url, host_of
from chatui.backends.openai.chunk_decoder import ContextExceededError
from chatui.backends.openai.client import ServerClient
from chatui.backends.openai.connection import (
    Connection,
    ListKeyWantedError,
    NoModelListError,
    ask_with_key,
)
from chatui.backends.openai.model_list import choose_model
from chatui.backends.openai.reply_reader import ReplyReader
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
    ReplyEvent,
)
from chatui.prompting.format import PromptFormat, fixed_reply


class OpenAIBackend:
    """Talks to one model on a server (see ``Backend`` for the methods)."""

    def __init__(self) -> None:
        self._client: ServerClient | None = None
        self._reply: StreamedReply | None = None
        self._turn = asyncio.Lock()

    async def load(self, spec: ModelSpec) -> AsyncIterator[LoadEvent]:
        started = time.perf_counter()
        url = base_url(spec.server or "")
        format = server_request.format_of(spec)
        yield Loading(host_of(url))
        try:
            client = await ask_with_key(url, spec.key_env, partial(_connected, spec, url, format))
        except ListKeyWantedError:
            if not spec.path:
                raise
            client = await _connected(spec, url, format, None, has_list=False)
        notes = list(spec.notes)
        if missing := server_request.unsupported_settings(spec.sampling):
            notes.append(say("backends.settings_not_sent", names=", ".join(missing)))
        former, self._client = self._client, client
        if former is not None:
            await former.connection.http.aclose()
        yield Loaded(
            name=_name(spec, client.connection.model),
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
            raise ChatuiError(say("backends.cannot_continue"))
        async with self._turn:
            self._reply = StreamedReply(client, request)
            try:
                async with aclosing(self._reply.events()) as events:
                    async for event in events:
                        yield event
            finally:
                self._reply = None

    async def inspect(self, request: GenerateRequest, top: int = 8) -> Inspection:
        client = self._require()
        prompt = await client.fit(request)
        text = server_request.prompt_as_text(prompt.prompt)
        if client.tokenizer is not None and not isinstance(prompt.prompt, str):
            text = await client.tokenizer.render(prompt.prompt, request.think) or text
        ids, pieces = server_request.NO_TOKENS
        if counter := client.counter:
            ids, pieces = await counter.tokenize(prompt.prompt, request.think)
        body = client.body(request, prompt) | server_request.logprob_fields(top, chat=client.chat)
        body |= {"max_tokens": 1, "stream_options": {"include_usage": True}}
        reader = ReplyReader()
        try:
            tokens = [token async for token in client.stream(body, reader)]
        except ContextExceededError as error:
            raise client.connection.error("too_long", str(error)) from error
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
            await client.connection.http.aclose()

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
    connection = Connection(url, key, spec.key_env)
    connection.model = spec.path
    try:
        try:
            listed = await connection.models() if has_list else ()
        except NoModelListError:
            # Some gateways have no list of models; then trust the name.
            if not spec.path:
                raise
            listed = ()
        model = choose_model(listed, spec.path, url)
        connection.model = model.id
        limits = (spec.context, spec.context_limit, model.context_limit)
        tokenizer = await server_request.find_server_tokenizer(connection)
    except BaseException:
        await connection.http.aclose()
        raise
    limit = min(filter(None, limits), default=0)
    return ServerClient(spec, connection, format, limit, tokenizer)
