"""Requests for replies to one model on one server."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from chatui.backends.openai import server_request
from chatui.backends.openai.chunk_decoder import (
    ChunkDecoder,
    ContextExceededError,
    error_in,
    exceeds_context,
    notice_in,
)
from chatui.backends.openai.connection import Connection
from chatui.backends.openai.reply_reader import ReplyReader
from chatui.backends.openai.server_request import Prompt, ServerTokenizer
from chatui.messages import GenerateRequest, ModelSpec, Token
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.window import FittedPrompt, fit_prompt

_DEFAULT_REPLY_TOKENS = 2048
"""``max_tokens`` of a completion request without a limit; servers would stop at 16 tokens."""

STALL_SECONDS = 120.0
"""Maximum seconds between two chunks of a reply."""

USAGE_SECONDS = 2.0
"""Seconds to wait for the token counts after the end of the reply."""


@dataclass
class ServerClient:
    """A client for one model on one server.

    Attributes:
        spec: the loaded spec.
        connection: the server and the model.
        format: ``CHAT``, or the format of prompts for the completions API.
        context_limit: context length in tokens; 0 if unknown.
        tokenizer: the server's tokenizer; None if it has no endpoint for it.
        refused_fields: names of request fields that the server has refused.
        renamed_fields: the server's names of fields that it calls differently.
        shown_notes: notes that were already shown.
    """

    spec: ModelSpec
    connection: Connection
    format: PromptFormat
    context_limit: int = 0
    tokenizer: ServerTokenizer | None = None
    refused_fields: set[str] = field(default_factory=set)
    renamed_fields: dict[str, str] = field(default_factory=dict)
    shown_notes: set[str] = field(default_factory=set)

    @property
    def chat(self) -> bool:
        """True if the server renders the prompt itself."""
        return self.format is server_request.CHAT

    @property
    def counter(self) -> ServerTokenizer | None:
        """The server's tokenizer, if it can count the tokens of these prompts."""
        counts = self.tokenizer is not None and (self.tokenizer.chat or not self.chat)
        return self.tokenizer if counts else None

    async def fit(self, request: GenerateRequest) -> FittedPrompt[Prompt]:
        """Render the prompt with as many of the latest rounds as fit; all if no limit is known.

        Raises:
            ChatuiError: the query alone does not fit.
        """
        system = self.spec.system if request.system is None else request.system
        begun = request.partial_reply.text if request.partial_reply else ""
        counter, loop = self.counter, asyncio.get_running_loop()

        def rendered(history: Sequence[Exchange]) -> Prompt:
            return server_request.render(self.format, history, request.query, system, begun)

        def count(prompt: Prompt) -> int:
            if counter is None:
                return server_request.estimate_tokens(prompt)
            asked = counter.count(prompt, request.think)
            return asyncio.run_coroutine_threadsafe(asked, loop).result()

        # In a thread, because a count waits for a request that this loop sends.
        limit = request.limit(self.context_limit) or sys.maxsize
        return await asyncio.to_thread(fit_prompt, self.spec, request, limit, rendered, count)

    def body(self, request: GenerateRequest, prompt: FittedPrompt[Prompt]) -> dict[str, Any]:
        """Return the body of a request, without the fields of a streamed reply."""
        limit = request.sampling.max_new_tokens
        body = {
            "model": self.connection.model,
            "messages" if self.chat else "prompt": prompt.prompt,
            **server_request.sampling_fields(request.sampling, all_fields=not self.chat),
        }
        if self.chat:
            body |= server_request.template_arguments(request.think)
        elif limit is None:
            window = request.limit(self.context_limit)
            room = window - prompt.tokens
            limit = room if window and self.counter else _DEFAULT_REPLY_TOKENS
            if window:
                limit = max(1, min(limit, room))
            if self.format.is_free_text(request.query):
                limit = min(limit, self.format.free_text_tokens or limit)
        if limit is not None:
            body["max_tokens"] = limit
        return body

    async def stream(
        self, body: dict[str, Any], reader: ReplyReader
    ) -> AsyncGenerator[Token, None]:
        """Send a request, and yield the tokens of the answer.

        Closing the generator closes the connection, which stops the server.

        Raises:
            ChatuiError: the server cannot be reached, refuses the request, reports an error, sends
                no valid reply, or times out, or the connection breaks.
            ContextExceededError: the server reports, before any text, that the prompt is too long.
        """
        response = await self._post(body | {"stream": True})
        decoder = ChunkDecoder(response.charset_encoding)
        complaint: dict[str, Any] = {}
        received = response.aiter_bytes()
        seen = counted = finished = False
        deadline = math.inf
        data: bytes | None = b""
        try:
            while data is not None and not decoder.ended:
                with anyio.fail_after(deadline - anyio.current_time()):
                    data = await anext(received, None)
                for chunk in decoder.feed(data or b"", final=data is None):
                    begun = reader.begun
                    for token in reader.read(chunk):
                        yield token
                    if error := error_in(chunk):
                        self._raise_error(error, begun)
                    complaint = complaint or notice_in(chunk)
                    seen = seen or bool(chunk.get("choices"))
                    # Some servers send counts in every chunk; the last chunk has counts alone.
                    counted = bool(chunk.get("usage")) and not chunk.get("choices")
                    if (reader.begun or reader.finish) and not finished:
                        finished = bool(reader.finish)
                        seconds = USAGE_SECONDS if finished else STALL_SECONDS
                        deadline = anyio.current_time() + seconds
        except (httpx2.TimeoutException, TimeoutError) as error:
            if not reader.finish:
                raise self.connection.error("stalled") from error
        except (httpx2.DecodingError, ValueError, RecursionError) as error:
            raise self.connection.error("garbage", decoder.unparsed) from error
        except httpx2.HTTPError as error:
            if not reader.finish and not complaint and not (reader.begun and counted):
                raise self.connection.error(_dropped(reader)) from error
        finally:
            await response.aclose()
        if rest := reader.flush():
            yield Token(rest)
        if reader.finish or counted or (seen and (decoder.ended or decoder.is_document)):
            return
        self._raise_error(complaint, reader.begun)
        if decoder.ended:
            return
        if not seen and (decoder.unparsed or not _may_stream(response)):
            raise self.connection.error("garbage", decoder.unparsed)
        raise self.connection.error(_dropped(reader))

    def _raise_error(self, error: dict[str, Any] | None, begun: bool) -> None:
        if not error:
            return
        reason = self.connection.message_in(error)
        if not begun and exceeds_context(200, reason):
            raise ContextExceededError(reason)
        raise self.connection.error("broke_off", reason or error.get("finish_reason"))

    async def _post(self, body: dict[str, Any]) -> httpx2.Response:
        """Post ``body`` without refused fields; the body of the response is not read yet."""
        fields = {
            self.renamed_fields.get(name, name): value
            for name, value in body.items()
            if name not in self.refused_fields
        }
        endpoint = "/chat/completions" if self.chat else "/completions"
        while not (response := await self.connection.post(endpoint, fields)).is_success:
            status = response.status_code
            answer = await _body_of(response)
            complaint = self.connection.message_in(answer)
            if exceeds_context(status, complaint):
                raise ContextExceededError(complaint)
            # Each time at least one field less: OpenAI names one unknown field at a time.
            fewer = server_request.drop_refused_fields(fields, complaint)
            if status not in (400, 413, 422) or fewer is None:
                raise self.connection.status_error(response, answer)
            fields = fewer
        # Remember the fields that were dropped or renamed.
        if "max_tokens" in body and server_request.NEW_LIMIT_FIELD in fields:
            self.renamed_fields["max_tokens"] = server_request.NEW_LIMIT_FIELD
        self.refused_fields |= {
            name
            for name in body
            if name not in fields and self.renamed_fields.get(name) not in fields
        }
        return response


def _dropped(reader: ReplyReader) -> str:
    """Return the key of the sentence on a broken connection."""
    return "dropped" if reader.begun else "no_reply"


def _may_stream(response: httpx2.Response) -> bool:
    """True if an answer without chunks may be a stream that broke early."""
    kind = response.headers.get("content-type", "").casefold()
    return "event-stream" in kind or not response.num_bytes_downloaded


async def _body_of(response: httpx2.Response) -> object:
    """Return the body of an error response: its JSON objects, else its text."""
    decoder = ChunkDecoder(response.charset_encoding)
    try:
        chunks = list(decoder.feed(await response.aread(), final=True))
    except (ValueError, httpx2.HTTPError):
        chunks = []
    finally:
        await response.aclose()
    return chunks or decoder.unparsed
