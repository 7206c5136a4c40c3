"""A loaded model on a server: its client, and the requests that go through it."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2

from chatui.backends.openai.connection import http_client
from chatui.backends.openai.counting import Tokenizer
from chatui.backends.openai.failures import (
    Place,
    broken_stream,
    reason_of,
    refused_request,
    unreachable,
)
from chatui.backends.openai.fields import OTHER_LIMIT, without_refused
from chatui.backends.openai.prompts import Way
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai._types import RequestOptions

_MOST_TRIES = 8
"""OpenAI names only one field that it does not know at a time."""
_CONTEXT_WORDS = re.compile(
    r"context.{0,20}(length|size|window)|maximum context|too (long|many tokens)", re.IGNORECASE
)


class DroppedError(Exception):
    """The connection broke while the server was answering."""


class ContextExceededError(Exception):
    """The server says that the prompt is too long for the model."""


@dataclass
class Link:
    """One model on one server.

    Attributes:
        spec: what was loaded.
        place: the server and the model on it.
        way: chat or completions.
        http: for what the openai client has no call for.
        client: the openai client, on the same connections.
        context_limit: tokens; 0 where it is not known.
        tokenizer: the server's, where it can be asked.
        refused: names of request fields that the server refused so far.
        spelling: what the server calls fields that it knows by another name.
    """

    spec: ModelSpec
    place: Place
    way: Way
    http: httpx2.AsyncClient
    client: AsyncOpenAI
    context_limit: int = 0
    tokenizer: Tokenizer | None = None
    refused: set[str] = field(default_factory=set)
    spelling: dict[str, str] = field(default_factory=dict)

    async def stream(self, body: dict[str, Any]) -> AsyncIterator[Any]:
        """Send a request and return its chunks, once the server has begun to answer.

        Closing the iterator closes the connection, which makes the server stop.

        Raises:
            ChatuiError: the server cannot be reached or refuses the request.
            ContextExceededError: the prompt is too long.
        """
        from openai import AsyncStream

        stream: AsyncStream[object] = await self._post(
            body | {"stream": True}, stream=True, stream_cls=AsyncStream[object]
        )
        kind = stream.response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            await stream.close()
            raise ChatuiError(say("backends.garbage", url=self.place.url))
        return self._chunks(stream)

    async def ask(self, body: dict[str, Any]) -> Any:
        """Send a request and return the whole answer, decoded from JSON; raises like ``stream``."""
        return await self._post(body, stream=False)

    async def close(self) -> None:
        await self.client.close()
        await self.http.aclose()

    async def _chunks(self, stream: Any) -> AsyncIterator[Any]:
        import openai

        try:
            async for chunk in stream:
                if not isinstance(chunk, dict):
                    raise ValueError("a chunk is no object")
                if chunk.get("error"):
                    raise broken_stream(reason_of(chunk), self.place)
                yield chunk
        except openai.APITimeoutError as error:
            raise ChatuiError(say("backends.stalled", url=self.place.url)) from error
        except openai.APIConnectionError as error:
            raise DroppedError from error
        except openai.APIError as error:
            raise broken_stream(reason_of(error.body) or error.message, self.place) from error
        except (ValueError, httpx2.DecodingError) as error:
            raise ChatuiError(say("backends.garbage", url=self.place.url)) from error
        finally:
            await stream.close()

    async def _post(self, body: dict[str, Any], **options: Any) -> Any:
        """Post, without the fields that this server does not take."""
        import openai

        fields = {
            self.spelling.get(name, name): value
            for name, value in body.items()
            if name not in self.refused
        }
        # Without a key the package wants to be told so with each request.
        omitted: dict[str, Any] = {} if self.place.key else {"Authorization": openai.Omit()}
        headers: RequestOptions = {"headers": omitted}
        for tries_left in reversed(range(_MOST_TRIES)):
            try:
                answer = await self._post_once(fields, headers, **options)
            except openai.APIStatusError as error:
                complaint = reason_of(error.body, self.place) or error.message
                rejected = error.status_code in (400, 413, 422)
                if rejected and _CONTEXT_WORDS.search(complaint):
                    raise ContextExceededError(complaint) from error
                fewer = without_refused(fields, complaint) if rejected and tries_left else None
                if fewer is None:
                    raise refused_request(error.status_code, error.body, self.place) from error
                fields = fewer
            except openai.APIConnectionError as error:
                raise unreachable(error, self.place) from error
            except (openai.OpenAIError, ValueError) as error:
                raise ChatuiError(say("backends.garbage", url=self.place.url)) from error
            else:
                self._learn_from(body, fields)
                return answer
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

    async def _post_once(
        self, fields: dict[str, Any], headers: RequestOptions, **options: Any
    ) -> Any:
        """Post; a second time where the server had closed the kept connection meanwhile."""
        import openai

        post = partial(
            self.client.post, self.way.endpoint, cast_to=object, options=headers, **options
        )
        try:
            return await post(body=fields)
        except openai.APIConnectionError as error:
            if not isinstance(error.__cause__, httpx2.RemoteProtocolError | httpx2.ReadError):
                raise
            return await post(body=fields)


async def link_to(spec: ModelSpec, place: Place, way: Way) -> Link:
    """A link, not yet tried. The openai package is imported in a thread: it takes half a second."""
    openai = await asyncio.to_thread(importlib.import_module, "openai")
    http = http_client(place)
    # The package would send what OPENAI_ORG_ID and its like hold to whatever server this is.
    unsent = ("OpenAI-Organization", "OpenAI-Project")
    client: AsyncOpenAI = openai.AsyncOpenAI(
        base_url=place.url,
        api_key=place.key.value if place.key else "none",
        default_headers={name: openai.Omit() for name in unsent},
        http_client=http,
        # The user retries by a key, and sees at once what is wrong.
        max_retries=0,
    )
    return Link(spec, place, way, http, client)
