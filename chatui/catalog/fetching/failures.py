"""What can go wrong between a hub and this disk, each in one sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from urllib.parse import urlsplit

from chatui.catalog.fetching.hub import Hub, shown
from chatui.errors import ChatuiError
from chatui.locales import say

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LONGEST_REASON = 160


class Refused(ChatuiError):
    """A hub has no such repository for whoever asks; another may have the same weights."""


def hub_failure(error: Exception, hub: Hub, hub_id: str, revision: str = "") -> ChatuiError:
    """The sentence for what a hub's client raised while it was asked about ``hub_id``."""
    if isinstance(error, ChatuiError):
        return error
    response = getattr(error, "response", None)
    if response is not None:
        headers = response.headers
        return answer_failure(
            response.status_code,
            headers.get("X-Error-Code", ""),
            headers.get("X-Error-Message", ""),
            hub,
            hub_id,
            revision,
        )
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return answer_failure(status, "", "", hub, hub_id, revision)
    if type(error).__name__ == "OfflineModeIsEnabled":
        return ChatuiError(say("fetching.offline"))
    if is_network_failure(error):
        return network_failure(error, hub)
    if isinstance(error, OSError) and error.filename:
        # Its token, for instance, lies in a folder that is a file.
        file, reason = os.fsdecode(error.filename), error.strerror or error
        return ChatuiError(say("catalog.unreadable", file=file, reason=reason))
    return ChatuiError(say("fetching.no_hub", endpoint=shown(hub.endpoint)))


def answer_failure(
    status: int, code: str, message: str, hub: Hub, hub_id: str, revision: str = "", path: str = ""
) -> ChatuiError:
    """The sentence for an HTTP answer that is an error.

    Args:
        code, message: Hugging Face's headers X-Error-Code and X-Error-Message; a 401 without a
            code means that there is no such repository for whoever asks.
    """
    endpoint = shown(hub.endpoint)
    host = urlsplit(endpoint).netloc
    where = {"hub_id": hub_id, "title": hub.title, "host": host, "endpoint": endpoint}
    if hub.title == "ModelScope" and status in (401, 403):
        return Refused(say("fetching.no_access_modelscope", **where))
    if code == "GatedRepo" or status == 403:
        return Refused(say("fetching.gated", **where))
    if "Invalid credentials" in message:
        return ChatuiError(say("fetching.wrong_token", **where))
    if code == "RevisionNotFound":
        return ChatuiError(say("fetching.no_revision", revision=revision, **where))
    if code == "EntryNotFound":
        return ChatuiError(say("fetching.no_file", path=path, **where))
    if status in (401, 404):
        return Refused(say("fetching.not_found", **where))
    if status == 429:
        return ChatuiError(say("fetching.too_many", **where))
    return ChatuiError(say("fetching.server_error", status=status, **where))


def is_network_failure(error: BaseException) -> bool:
    """Whether nothing, or not all, came over the network."""
    import httpx2

    # modelscope-hub's own errors are also Python's ConnectionError and TimeoutError.
    return isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)


def network_failure(error: BaseException, hub: Hub) -> ChatuiError:
    """The sentence for a hub that cannot be reached, or that does not send to the end."""
    import httpx2

    host = urlsplit(shown(hub.endpoint)).netloc
    key = "fetching.proxy" if isinstance(error, httpx2.ProxyError) else "fetching.unreachable"
    other = "--from modelscope" if hub.title == "Hugging Face" else "--from hf"
    return ChatuiError(say(key, host=host, reason=_reason(error), other=other))


def disk_failure(error: OSError, path: Path) -> ChatuiError:
    """The sentence for a file that cannot be written."""
    if error.errno in _NO_ROOM:
        return ChatuiError(say("fetching.disk_full", path=path))
    return ChatuiError(say("fetching.unwritable", path=path, reason=error.strerror or error))


def _reason(error: BaseException) -> str:
    """What the system said at the bottom of it all."""
    deepest = error
    while cause := deepest.__cause__ or deepest.__context__:
        deepest = cause
    said = deepest.strerror if isinstance(deepest, OSError) else None
    text = " ".join((said or str(deepest)).split()).rstrip(".") or type(deepest).__name__
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"
