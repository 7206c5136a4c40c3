"""The HTTP client of one server: its models, and the requests for replies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

from chatui.backends.openai.address import is_loopback, proxy_of
from chatui.backends.openai.api_keys import Key, from_environment, from_keyring
from chatui.backends.openai.request_fields import OTHER_LIMIT, without_refused
from chatui.backends.openai.server_errors import (
    ContextExceededError,
    DroppedError,
    KeyWantedError,
    NoModelListError,
    Target,
    broken_stream,
    error_in,
    is_too_long,
    reason_of,
    refused_request,
    unreachable,
)
from chatui.backends.openai.server_prompt import PromptApi
from chatui.backends.openai.stream import ChunkDecoder, Delta, DeltaReader
from chatui.backends.openai.token_counting import Tokenizer
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec, Token

_Answer = TypeVar("_Answer")

CONNECT_SECONDS = 5.0
LIST_SECONDS = 10.0
FIRST_BYTE_SECONDS = 600.0
"""A server may load the model or read a long prompt before it answers."""
LAST_WORDS_SECONDS = 2.0
"""After the reply's end the token counts may follow for so long."""

# uvicorn closes idle connections after 5 s; one that we let go earlier is never found broken.
_KEEPALIVE_SECONDS = 4.0
_MOST_TRIES = 8
"""OpenAI names only one field that it does not know at a time."""
_NO_LIST = frozenset((400, 403, 404, 405, 410, 501))


@dataclass(frozen=True)
class ListedModel:
    """A model in a server's ``/v1/models``.

    Attributes:
        id: what a request calls it.
        context_limit: tokens, prompt and reply together; None where the server does not tell.
    """

    id: str
    context_limit: int | None = None


def http_client(target: Target, *, connect_seconds: float = CONNECT_SECONDS) -> httpx2.AsyncClient:
    """A client for one server.

    Proxies and certificates of the environment are respected, except that a server on this
    machine is never looked for behind a proxy.

    Raises:
        ChatuiError: the environment's proxy or file of certificates cannot be used.
    """
    headers = {"Authorization": f"Bearer {target.key.value}"} if target.key else {}
    try:
        # Reading the certificates takes 30 ms, and plain HTTP has no use for them.
        verify = httpx2.create_ssl_context() if target.url.startswith("https:") else False
    except (OSError, ValueError) as error:
        raise ChatuiError(say("backends.bad_certificates", reason=error)) from error
    try:
        return httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(
                FIRST_BYTE_SECONDS, connect=connect_seconds, pool=connect_seconds
            ),
            limits=httpx2.Limits(keepalive_expiry=_KEEPALIVE_SECONDS),
            follow_redirects=True,
            trust_env=not is_loopback(target.url),
            verify=verify,
        )
    except (ValueError, httpx2.InvalidURL) as error:
        raise ChatuiError(say("backends.bad_proxy", proxy=proxy_of(target.url))) from error


async def with_key(
    url: str, variable: str, ask: Callable[[Key | None], Awaitable[_Answer]]
) -> _Answer:
    """What ``ask`` gives with the key for the server at ``url``, if there is one.

    A server on this machine is asked without a key first, for it seldom wants one and a keyring may
    bother its user.

    Raises:
        ChatuiError: what ``ask`` raises, or a key that is none.
    """
    key = from_environment(url, variable)
    if key is None and not is_loopback(url):
        key = await from_keyring(url)
    try:
        return await ask(key)
    except KeyWantedError:
        key = await from_keyring(url) if is_loopback(url) else None
        if key is None:
            raise
    return await ask(key)


async def list_models(
    http: httpx2.AsyncClient, target: Target, seconds: float = LIST_SECONDS
) -> tuple[ListedModel, ...]:
    """The models that the server offers.

    Raises:
        NoModelListError: it answers, but not with a list of models.
        ChatuiError: nobody answers there, the key is missing or wrong, or it is no such server.
    """
    try:
        answer = await http.get(f"{target.url}/models", timeout=seconds)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise unreachable(error, target) from error
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    if answer.status_code == 403:
        # The key may be good for replies and not for the list.
        refusal = refused_request(403, body, target)
        raise refusal if isinstance(refusal, KeyWantedError) else NoModelListError(str(refusal))
    if answer.status_code in _NO_LIST:
        raise NoModelListError(say("backends.no_such_server", url=target.url))
    if answer.status_code != 200:
        raise refused_request(answer.status_code, body, target)
    if not isinstance(body, dict | list):
        raise ChatuiError(say("backends.no_such_server", url=target.url))
    models: Any = body
    if isinstance(body, dict):
        models = body.get("data", body.get("models"))
        # Ollama without any model answers {"data": null}.
        models = [] if models is None and body.get("object") == "list" else models
    if not isinstance(models, list):
        raise NoModelListError(say("backends.no_such_server", url=target.url))
    listed = (_listed(model) for model in models)
    return tuple(model for model in listed if model is not None)


def _listed(model: Any) -> ListedModel | None:
    """The model of an entry: a name, or an object with an id (Ollama: name, model)."""
    if isinstance(model, str) and model:
        return ListedModel(model)
    if not isinstance(model, dict):
        return None
    for name in ("id", "model", "name"):
        if isinstance(model.get(name), str) and model[name]:
            return ListedModel(model[name], _context_limit(model))
    return None


def _context_limit(model: dict[str, Any]) -> int | None:
    """vLLM and SGLang say ``max_model_len``, llama-server ``meta.n_ctx``."""
    meta = model.get("meta")
    values = [model.get("max_model_len"), model.get("context_length")]
    if isinstance(meta, dict):
        values += [meta.get("n_ctx"), meta.get("n_ctx_train")]
    limits = [limit for limit in values if isinstance(limit, int) and limit > 0]
    return limits[0] if limits else None


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
                    self._raise_error_in(chunk, begun)
                    delta = reader.read(chunk)
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
