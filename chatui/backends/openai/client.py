"""The requests for replies that go to one server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from chatui.backends.openai.chunk_decoder import ChunkDecoder
from chatui.backends.openai.deltas import Delta, DeltaReader
from chatui.backends.openai.request_fields import OTHER_LIMIT, without_refused
from chatui.backends.openai.server_errors import (
    ContextExceededError,
    DroppedError,
    Target,
    broken_stream,
    complaint_in,
    error_in,
    is_too_long,
    moved,
    no_reply,
    reason_of,
    refused_request,
    unreachable,
)
from chatui.backends.openai.server_prompt import PromptApi, Tokenizer
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec, Token

LAST_WORDS_SECONDS = 2.0
"""After the reply's end the token counts may follow for so long."""

_MOST_TRIES = 8
"""OpenAI names only one field that it does not know at a time."""


@dataclass
class ServerClient:
    """One model on one server, and the requests that go to it.

    Attributes:
        spec: what was loaded.
        target: the server and the model on it.
        api: chat or completions.
        http: the connections.
        context_limit: tokens; 0 if it is not known.
        tokenizer: the server's, if it can be asked.
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

    async def stream(self, body: dict[str, Any]) -> tuple[list[Delta], AsyncGenerator[Delta, None]]:
        """Send a request; its deltas up to the first text, and those that follow.

        Closing the generator closes the connection, which makes the server stop.

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
        return first, deltas

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the whole answer, decoded from JSON; raises like ``stream``."""
        response = await self._post(body | {"stream": False})
        decoder = ChunkDecoder(response.charset_encoding)
        complaint: dict[str, Any] = {}
        try:
            for chunk in decoder.feed(await response.aread(), final=True):
                self._raise_error(error_in(chunk), begun=False)
                if chunk.get("choices"):
                    return chunk
                complaint = complaint or complaint_in(chunk)
        except (ValueError, httpx2.HTTPError) as error:
            raise no_reply(decoder.stray, self.target) from error
        finally:
            await response.aclose()
        self._raise_error(complaint, begun=False)
        raise no_reply(decoder.stray, self.target)

    async def close(self) -> None:
        await self.http.aclose()

    async def _deltas(self, response: httpx2.Response) -> AsyncGenerator[Delta, None]:
        """The deltas of an answer, to its end or to the end of what the reply needs.

        Raises:
            ChatuiError: the server reports an error or sends no reply at all.
            ContextExceededError: it says, before any text, that the prompt is too long.
            DroppedError: the connection broke, or ended in the middle of the reply.
        """
        decoder, reader = ChunkDecoder(response.charset_encoding), DeltaReader()
        complaint: dict[str, Any] = {}
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
                    if error := error_in(chunk):
                        if delta.tokens:
                            yield Delta(delta.tokens)
                        self._raise_error(error, begun)
                    complaint = complaint or complaint_in(chunk)
                    seen = seen or bool(chunk.get("choices"))
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
        except (httpx2.DecodingError, ValueError, RecursionError) as error:
            raise no_reply(decoder.stray, self.target) from error
        except httpx2.HTTPError as error:
            if not finished and not complaint and not (begun and counted):
                raise DroppedError from error
        finally:
            await response.aclose()
        if rest := reader.flush():
            yield Delta((Token(rest),))
        if finished or counted or (seen and (decoder.ended or decoder.is_document)):
            return
        self._raise_error(complaint, begun)
        if decoder.ended:
            return
        if not seen and (decoder.stray or not _may_stream(response)):
            raise no_reply(decoder.stray, self.target)
        raise DroppedError

    def _raise_error(self, error: dict[str, Any] | None, begun: bool) -> None:
        if not error:
            return
        reason = reason_of(error, self.target)
        if not begun and is_too_long(200, reason):
            raise ContextExceededError(reason)
        raise broken_stream(error, self.target)

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
                wait = response.headers.get("retry-after", "")
                raise refused_request(status, answer, self.target, wait)
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
                response = await self.http.send(request, stream=True)
                if response.request.method != "POST":
                    # Most redirections turn it into a GET.
                    await response.aclose()
                    raise moved(response.url, self.api.endpoint, self.target)
                return response
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
    """The body of a refusal: its JSON objects if it has any, else its text."""
    decoder = ChunkDecoder(response.charset_encoding)
    try:
        chunks = list(decoder.feed(await response.aread(), final=True))
    except (ValueError, httpx2.HTTPError):
        chunks = []
    finally:
        await response.aclose()
    return chunks or decoder.stray
