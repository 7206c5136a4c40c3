"""The backend for OpenAI-compatible servers (see :class:`~chatui.backends.protocol.Backend`)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import Any

from chatui.backends.openai.address import base_url, host_of
from chatui.backends.openai.connection import Listed, list_models, with_key
from chatui.backends.openai.counting import find_tokenizer
from chatui.backends.openai.failures import Place, with_reason
from chatui.backends.openai.fields import not_available, sampling_fields
from chatui.backends.openai.keys import Key
from chatui.backends.openai.link import ContextExceededError, Link, link_to
from chatui.backends.openai.prompts import Reading, Way, fit, way_of
from chatui.backends.openai.reading import tokens_of
from chatui.backends.openai.reply import Begun, Reply, run_reply
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
)
from chatui.prompting.canned import canned
from chatui.prompting.chat_template import THINKING_SWITCHES

_UNLIMITED_REPLY_TOKENS = 2048
"""The completions API stops at 16 tokens where a request says nothing."""

_MOST_CONTEXT_TRIES = 5


class OpenAIBackend:
    """Talks to one model on a server (see ``Backend`` for the methods)."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._reply: Reply | None = None
        self._turn = asyncio.Lock()

    async def load(self, spec: ModelSpec) -> AsyncIterator[LoadEvent]:
        started = time.perf_counter()
        url = base_url(spec.server or "")
        way = way_of(spec)
        yield Loading("connect")
        link = await with_key(url, spec.key_env, partial(_connected, spec, url, way))
        former, self._link = self._link, link
        if former is not None:
            await former.close()
        yield Loaded(
            name=_name(spec, link.place.model),
            family=spec.family or "",
            format=way.name,
            context_limit=link.context_limit,
            device=host_of(url),
            dtype="",
            load_seconds=time.perf_counter() - started,
            can_switch_thinking=link.way.format is None,
            notes=_load_notes(link),
        )

    async def generate(self, request: GenerateRequest) -> AsyncIterator[ReplyEvent]:
        link = self._require()
        answer = link.way.format.answer_to(request.query) if link.way.format else None
        if answer is not None:
            for event in canned(answer, link.context_limit):
                yield event
            return
        seed = request.sampling.seed
        seed = secrets.randbelow(1 << 31) if seed is None else seed
        stops = (
            *link.way.stops_for(request.query),
            *link.spec.stop_strings,
            *request.stop_strings,
        )
        clean = partial(link.way.clean, request.query)
        async with self._turn:
            reply = self._reply = Reply(stops, clean, seed, link.place.url)
            try:
                async for event in run_reply(reply, lambda: _begin(link, request, reply)):
                    yield event
            finally:
                self._reply = None

    async def inspect(self, request: GenerateRequest, top: int = 8) -> Inspection:
        link = self._require()
        reading = await _fit(link, request, link.context_limit)
        prompt = reading.text
        ids: tuple[int, ...] = ()
        pieces: tuple[str, ...] = ()
        if link.tokenizer is not None:
            if not isinstance(reading.prompt, str):
                prompt = await link.tokenizer.render(reading.prompt) or prompt
            if link.tokenizer.takes(reading.prompt):
                tokenized = await link.tokenizer.tokenize(reading.prompt)
                if tokenized is not None:
                    ids, pieces = tokenized.ids, tokenized.pieces
        body = _body(link, request, reading) | {"max_tokens": 1} | _logprobs(link, top)
        try:
            answer = await link.ask(body)
            choice = answer["choices"][0]
            tokens = list(tokens_of("", choice.get("logprobs")))
        except ContextExceededError as error:
            raise ChatuiError(_too_long(link, error)) from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ChatuiError(say("backends.garbage", url=link.place.url)) from error
        usage = answer.get("usage") or {}
        return Inspection(
            prompt=prompt,
            input_ids=ids,
            tokens=pieces,
            context_used=usage.get("prompt_tokens") or len(ids) or reading.tokens,
            context_limit=link.context_limit,
            dropped_rounds=reading.dropped_rounds,
            next=tokens[0].alternatives[:top] if tokens else (),
        )

    async def stop(self) -> None:
        if self._reply is not None:
            self._reply.stop()

    async def close(self) -> None:
        await self.stop()
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _require(self) -> Link:
        if self._link is None:
            raise BackendLost(say("backends.not_loaded"))
        return self._link


def _name(spec: ModelSpec, model: str) -> str:
    """The spec's name, and the model's where the spec left the choice to the server."""
    named = spec.path or spec.name.endswith(f":{model}")
    return spec.name if named else f"{spec.name}:{model}"


def choose(listed: tuple[Listed, ...], wanted: str, url: str) -> Listed:
    """The model that was asked for; the first one where none was.

    The owner before a repository's name and Ollama's tag after it may be left out; SGLang's
    adapters are asked for as BASE:ADAPTER (docs.sglang.io, "LoRA Serving"). A server that lists
    nothing (yet) is believed.

    Raises:
        ChatuiError: the server lists others (the nearest are named), or none at all.
    """
    for candidate in listed:
        if candidate.id in (wanted, f"{wanted}:latest") or not wanted:
            return candidate
    for candidate in listed:
        if wanted.startswith(f"{candidate.id}:"):
            return replace(candidate, id=wanted)
        if candidate.id.rpartition("/")[2] == wanted:
            return candidate
    if not listed:
        if wanted:
            return Listed(wanted)
        raise ChatuiError(say("backends.no_models", url=url))
    ids = [model.id for model in listed]
    nearest = get_close_matches(wanted, ids, n=3, cutoff=0.3)
    names = ", ".join(list(dict.fromkeys((*nearest, *ids)))[:3])
    raise ChatuiError(say("backends.model_not_listed", url=url, model=wanted, names=names))


async def _connected(spec: ModelSpec, url: str, way: Way, key: Key | None) -> Link:
    """A link to the model, and what the server tells of it."""
    place = Place(url, spec.path, key, spec.key_env)
    link = await link_to(spec, place, way)
    try:
        model = choose(await list_models(link.http, place), spec.path, url)
        link.place = replace(place, model=model.id)
        limits = [limit for limit in (spec.context_limit, model.context_limit) if limit]
        link.context_limit = min(limits, default=0)
        link.tokenizer = await find_tokenizer(link.http, url, model.id)
    except BaseException:
        await link.close()
        raise
    return link


def _load_notes(link: Link) -> tuple[str, ...]:
    notes = list(link.spec.notes)
    if not link.context_limit:
        notes.append(say("backends.limit_unknown"))
    elif link.tokenizer is None or not (link.way.format or link.tokenizer.takes([])):
        notes.append(say("backends.lengths_estimated"))
    missing = not_available(link.spec.sampling)
    if missing:
        notes.append(say("backends.settings_not_sent", names=", ".join(missing)))
    return tuple(notes)


async def _begin(link: Link, request: GenerateRequest, reply: Reply) -> Begun:
    """Send the request; shorter by some rounds as often as the server finds it too long."""
    limit = link.context_limit
    reading = await _fit(link, request, limit)
    for tries_left in reversed(range(_MOST_CONTEXT_TRIES)):
        body = _body(link, request, reading) | {
            "seed": reply.seed,
            "stream_options": {"include_usage": True},
        }
        if reply.stop_strings:
            body["stop"] = list(reply.stop_strings)
        if request.alternatives:
            body |= _logprobs(link, request.alternatives)
        refused_before = set(link.refused)
        try:
            chunks = await link.stream(body)
            break
        except ContextExceededError as error:
            if not reading.history or not tries_left:
                raise ChatuiError(_too_long(link, error)) from error
            kept = reading.history[-(-len(reading.history) // 3) :]
            shorter = await _fit(link, replace(request, history=kept), limit)
            dropped = len(request.history) - len(shorter.history)
            reading = replace(shorter, dropped_rounds=dropped)
    refused = sorted((link.refused - refused_before) & _wanted(request))
    notes = [say("backends.fields_refused", names=", ".join(refused))] if refused else []
    prefill = Prefill(
        prompt=reading.text,
        prompt_tokens=reading.tokens if reading.exact else 0,
        context_limit=link.context_limit,
        dropped_rounds=reading.dropped_rounds,
        seed=reply.seed,
        notes=tuple(notes),
    )
    return Begun(prefill, chunks)


def _wanted(request: GenerateRequest) -> set[str]:
    """Fields that the user would miss."""
    names = {"stop", "max_tokens", *sampling_fields(request.sampling, all_fields=False)}
    if request.sampling.seed is not None:
        names.add("seed")
    if request.think is not None:
        names.add("chat_template_kwargs")
    if request.alternatives:
        names |= {"logprobs", "top_logprobs"}
    # One setting, spelt in two ways for two kinds of servers.
    return names - {"repeat_penalty"}


async def _fit(link: Link, request: GenerateRequest, limit: int) -> Reading:
    return await fit(link.way, link.spec, request, limit, link.tokenizer)


def _body(link: Link, request: GenerateRequest, reading: Reading) -> dict[str, Any]:
    """The request without what only a streamed reply needs."""
    field = "prompt" if isinstance(reading.prompt, str) else "messages"
    body = {
        "model": link.place.model,
        field: reading.prompt,
        **sampling_fields(request.sampling, all_fields=link.way.format is not None),
    }
    if request.think is not None and link.way.format is None:
        # vLLM, SGLang and llama-server give these to the template; each knows one of the names.
        body["chat_template_kwargs"] = dict.fromkeys(THINKING_SWITCHES, request.think)
    limit = request.sampling.max_new_tokens
    if limit is None and link.way.format is not None:
        room = link.context_limit - reading.tokens
        limit = room if link.context_limit and reading.exact else _UNLIMITED_REPLY_TOKENS
        if link.context_limit and not reading.exact:
            limit = max(1, min(limit, room))
        if link.way.format.is_free(request.query):
            limit = min(limit, link.way.format.free_tokens or limit)
    if limit is not None:
        body["max_tokens"] = limit
    return body


def _logprobs(link: Link, top: int) -> dict[str, Any]:
    """Fields that ask for the best candidates of each token."""
    if link.way.format is not None:
        return {"logprobs": top}
    return {"logprobs": True, "top_logprobs": top}


def _too_long(link: Link, error: ContextExceededError) -> str:
    return with_reason(say("backends.too_long", url=link.place.url), str(error))
