"""The requests for replies that go to one server, and the fields that it takes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from chatui.backends.openai.server_errors import (
    ContextExceededError,
    DroppedError,
    Target,
    broken_stream,
    error_in,
    is_too_long,
    reason_of,
    refused_request,
    unreachable,
)
from chatui.backends.openai.server_prompt import PromptApi, Tokenizer
from chatui.backends.openai.stream import ChunkDecoder, Delta, DeltaReader
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec, Token
from chatui.sampling import DEFAULTS, SETTINGS, SamplingSettings

LAST_WORDS_SECONDS = 2.0
"""After the reply's end the token counts may follow for so long."""

_MOST_TRIES = 8
"""OpenAI names only one field that it does not know at a time."""

_LIMITS = frozenset(("max_new_tokens", "seed"))
"""Settings that a request gets apart from its sampling."""

_MOST_STOP_STRINGS = 4
"""OpenAI's own limit; most other servers take any number."""

OTHER_LIMIT = "max_completion_tokens"
"""What OpenAI's newer models call ``max_tokens``."""

_INDISPENSABLE = frozenset(("model", "messages", "prompt", "stream"))

_ENDS_THE_REPLY = frozenset(("stop", "max_tokens", OTHER_LIMIT))

_SERVERS_OWN = frozenset(
    {
        *("top_k", "min_p", "repetition_penalty", "repeat_penalty", "seed"),
        *("chat_template_kwargs", "stream_options", "logprobs", "top_logprobs"),
    }
)
"""Fields that are not in every server's version of the API."""


def sampling_fields(sampling: SamplingSettings, *, all_fields: bool) -> dict[str, Any]:
    """The fields for ``sampling``.

    Chat requests (``all_fields`` False) leave settings at their defaults to the server, which
    often knows the model's own; a completion request says everything, for a prompt of ours goes
    with our settings and servers have defaults of their own (llama-cpp-python a penalty of 1.1).
    ``top_k``, ``min_p`` and ``repetition_penalty`` are no fields of OpenAI's API, but vLLM and
    SGLang (and, as ``repeat_penalty``, llama-server and Ollama) take them.
    """
    fields: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        value = getattr(sampling, name)
        if name in _LIMITS or (sampling.is_greedy and not setting.in_greedy):
            continue
        if all_fields or value != getattr(DEFAULTS, name):
            fields |= dict.fromkeys(setting.server_fields, value)
    return fields | {"temperature": 0.0} if sampling.is_greedy else fields


def not_available(sampling: SamplingSettings) -> tuple[str, ...]:
    """Names of the settings in use that no server has a field for."""
    return tuple(
        name
        for name in sampling.in_force()
        if name != "greedy" and not SETTINGS[name].server_fields
    )


def without_refused(fields: Mapping[str, Any], complaint: str) -> dict[str, Any] | None:
    """What is left of ``fields`` after a server answered 400 or 422 with ``complaint``.

    Fields that the complaint names are left out; where it names none, first those that not every
    server has, then the others, and last what ends the reply. A server that wants
    ``max_completion_tokens`` gets it. None where nothing is left to leave out.
    """
    if OTHER_LIMIT in complaint and "max_tokens" in fields:
        changed = {name: value for name, value in fields.items() if name != "max_tokens"}
        return {**changed, OTHER_LIMIT: fields["max_tokens"]}
    optional = [name for name in fields if name not in _INDISPENSABLE]
    words = frozenset(re.findall(r"\w+", complaint))
    named = {name for name in optional if name in words}
    if named == {"stop"} and len(fields["stop"]) > _MOST_STOP_STRINGS:
        return {**fields, "stop": fields["stop"][:_MOST_STOP_STRINGS]}
    dropped = (
        named
        or _SERVERS_OWN.intersection(optional)
        or frozenset(optional) - _ENDS_THE_REPLY
        or frozenset(optional)
    )
    if not dropped:
        return None
    return {name: value for name, value in fields.items() if name not in dropped}


@dataclass
class ServerClient:
    """One model on one server, and the requests that go to it.

    Attributes:
        spec: what was loaded.
        target: the server and the model on it.
        api: chat or completions.
        http: the connections.
        context_limit: tokens; 0 where it is not known.
        tokenizer: the server's, where it can be asked.
        refused: names of request fields that the server refused so far.
        spelling: what the server calls fields that it knows by another name.
    """

    spec: ModelSpec
    target: Target
    api: PromptApi
    http: httpx2.AsyncClient
    context_limit: int = 0
    tokenizer: Tokenizer | None = None
    refused: set[str] = field(default_factory=set)
    spelling: dict[str, str] = field(default_factory=dict)

    async def stream(self, body: dict[str, Any]) -> AsyncIterator[Delta]:
        """Send a request and return its deltas, once the first text has come.

        Closing the iterator closes the connection, which makes the server stop.

        Raises:
            ChatuiError: the server cannot be reached, refuses the request or fails before the
                reply has begun.
            ContextExceededError: the prompt is too long.
            DroppedError: the connection broke before the reply began.
        """
        response = await self._post(body | {"stream": True})
        deltas = self._deltas(response)
        first: list[Delta] = []
        try:
            async for delta in deltas:
                first.append(delta)
                if delta.tokens or delta.finish:
                    break
        except BaseException:
            await deltas.aclose()
            raise

        async def all_deltas() -> AsyncIterator[Delta]:
            try:
                for delta in first:
                    yield delta
                async for delta in deltas:
                    yield delta
            finally:
                await deltas.aclose()

        return all_deltas()

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the whole answer, decoded from JSON; raises like ``stream``."""
        response = await self._post(body | {"stream": False})
        try:
            chunks = list(ChunkDecoder().feed(await response.aread(), final=True))
        except (ValueError, httpx2.HTTPError) as error:
            raise ChatuiError(say("backends.garbage", url=self.target.url)) from error
        finally:
            await response.aclose()
        for chunk in chunks:
            self._raise_error_in(chunk, begun=False)
            if isinstance(chunk.get("choices"), list) and chunk["choices"]:
                return chunk
        raise ChatuiError(say("backends.garbage", url=self.target.url))

    async def close(self) -> None:
        await self.http.aclose()

    async def _deltas(self, response: httpx2.Response) -> AsyncGenerator[Delta, None]:
        """The deltas of an answer, to its end or to the end of what the reply needs.

        Raises:
            ChatuiError: the server reports an error or sends no reply at all.
            ContextExceededError: it says, before any text, that the prompt is too long.
            DroppedError: the connection broke, or ended in the middle of the reply.
        """
        decoder, reader = ChunkDecoder(), DeltaReader()
        body = response.aiter_bytes()
        seen = begun = finished = counted = False
        deadline = 0.0
        try:
            while not decoder.ended:
                try:
                    if finished:
                        deadline = deadline or time.monotonic() + LAST_WORDS_SECONDS
                        wait = max(0.0, deadline - time.monotonic())
                        data = await asyncio.wait_for(anext(body), wait)
                    else:
                        data = await anext(body)
                    final = False
                except StopAsyncIteration:
                    data, final = b"", True
                for chunk in decoder.feed(data, final):
                    delta = reader.read(chunk)
                    if delta.tokens and error_in(chunk) is not None:
                        yield Delta(delta.tokens)
                    self._raise_error_in(chunk, begun)
                    seen = seen or "choices" in chunk
                    begun = begun or bool(delta.tokens)
                    finished = finished or bool(delta.finish)
                    # Some servers send counts with every chunk; alone they come at the end.
                    counted = bool(delta.prompt_tokens) and not chunk.get("choices")
                    if delta != _NOTHING:
                        yield delta
                if final:
                    break
        except (asyncio.TimeoutError, TimeoutError):
            pass
        except httpx2.TimeoutException as error:
            if not finished:
                raise ChatuiError(say("backends.stalled", url=self.target.url)) from error
        except httpx2.DecodingError as error:
            raise self._garbage() from error
        except httpx2.HTTPError as error:
            if not finished and not (begun and counted):
                raise DroppedError from error
        except ValueError as error:
            raise self._garbage() from error
        finally:
            await response.aclose()
        if rest := reader.flush():
            yield Delta((Token(rest),))
        if finished or counted or decoder.ended or (decoder.is_document and seen):
            return
        if not seen and not _may_stream(response):
            raise self._garbage()
        raise DroppedError

    def _raise_error_in(self, chunk: dict[str, Any], begun: bool) -> None:
        error = error_in(chunk)
        if error is None:
            return
        reason = reason_of(error, self.target)
        if not begun and is_too_long(200, reason):
            raise ContextExceededError(reason)
        raise broken_stream(error, self.target)

    def _garbage(self) -> ChatuiError:
        return ChatuiError(say("backends.garbage", url=self.target.url))

    async def _post(self, body: dict[str, Any]) -> httpx2.Response:
        """Post, without the fields that this server does not take; the answer is yet to be read."""
        fields = {
            self.spelling.get(name, name): value
            for name, value in body.items()
            if name not in self.refused
        }
        for tries_left in reversed(range(_MOST_TRIES)):
            response = await self._post_once(fields)
            if response.is_success:
                self._learn_from(body, fields)
                return response
            status = response.status_code
            answer = await _body_of(response)
            complaint = reason_of(answer, self.target)
            if is_too_long(status, complaint):
                raise ContextExceededError(complaint)
            rejected = status in (400, 413, 422)
            fewer = without_refused(fields, complaint) if rejected and tries_left else None
            if fewer is None:
                raise refused_request(status, answer, self.target)
            fields = fewer
        raise AssertionError("the last try returns or raises")

    def _learn_from(self, body: dict[str, Any], taken: dict[str, Any]) -> None:
        """Remember what was left out of ``body`` or called otherwise until the server took it.

        Only then is it known to have been in the way: a request that the server refuses to the
        end tells nothing of its fields.
        """
        if "max_tokens" in body and OTHER_LIMIT in taken:
            self.spelling["max_tokens"] = OTHER_LIMIT
        self.refused |= {
            name for name in body if name not in taken and self.spelling.get(name) not in taken
        }

    async def _post_once(self, fields: dict[str, Any]) -> httpx2.Response:
        """Post; a second time where the server had closed the kept connection meanwhile."""
        url = f"{self.target.url}{self.api.endpoint}"
        for again in (True, False):
            try:
                request = self.http.build_request("POST", url, json=fields)
                return await self.http.send(request, stream=True)
            except (httpx2.RemoteProtocolError, httpx2.ReadError) as error:
                if not again:
                    raise unreachable(error, self.target) from error
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                raise unreachable(error, self.target) from error
        raise AssertionError("the second try returns or raises")


_NOTHING = Delta()


def _may_stream(response: httpx2.Response) -> bool:
    """Whether an answer without a single chunk may be a stream that broke early."""
    kind = response.headers.get("content-type", "").casefold()
    return "event-stream" in kind or not response.num_bytes_downloaded


async def _body_of(response: httpx2.Response) -> object:
    """The body of a refusal, decoded where it is JSON."""
    try:
        await response.aread()
        return response.json()
    except (ValueError, RecursionError):
        return response.text
    except httpx2.HTTPError:
        return None
    finally:
        await response.aclose()
