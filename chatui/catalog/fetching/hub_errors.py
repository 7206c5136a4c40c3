"""The sentences for the errors of hubs, networks and disks during a download."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chatui.errors import ChatuiError
from chatui.locales import say, system_reason
from chatui.text import one_line

if TYPE_CHECKING:
    from chatui.catalog.fetching.hubs import Hub

MIRROR = "https://hf-mirror.com"
"""A public mirror of Hugging Face, named as a way out."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LONGEST_REASON = 160
_UNAVAILABLE = ("no_access_modelscope", "gated", "not_found")
"""Errors that concern one repository, of which a copy may be available."""


class RepositoryUnavailable(ChatuiError):
    """The repository does not exist or this user may not read it; a copy may be available."""


def hub_error(
    hub: Hub, error: Exception, hub_id: str, *, revision: str = "", path: str = ""
) -> ChatuiError:
    """Return the sentence for an error of a request or of the hub's client about ``hub_id``."""
    import httpx2

    if isinstance(error, ChatuiError):
        return error
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", getattr(error, "status_code", None))
    if isinstance(status, int):
        key = _http_error(hub.source, status, getattr(response, "headers", {}))
        kind = RepositoryUnavailable if key in _UNAVAILABLE else ChatuiError
        words = {"title": hub.title, "host": hub.host, "endpoint": hub.address, "status": status}
        return kind(say(f"fetching.{key}", hub_id=hub_id, revision=revision, path=path, **words))
    if isinstance(error, httpx2.ProxyError):
        return ChatuiError(say("fetching.proxy", reason=_reason(error)))
    # modelscope-hub's own errors are also Python's ConnectionError and TimeoutError.
    if isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError):
        ways = ["--from modelscope"] if hub.source == "hf" else ["--from hf"]
        if hub.source == "hf" and not MIRROR.endswith(f"/{hub.host}"):
            ways.insert(0, f"--mirror {MIRROR}")
        reason, others = _reason(error), ", ".join(ways)
        return ChatuiError(say("fetching.unreachable", host=hub.host, reason=reason, ways=others))
    if isinstance(error, OSError) and error.filename:
        # For example, there is a file in place of the folder with the token.
        file = os.fsdecode(error.filename)
        return ChatuiError(say("catalog.unreadable", file=file, reason=error))
    return ChatuiError(say("fetching.no_hub", endpoint=hub.address))


def _http_error(source: str, status: int, headers: Mapping[str, str]) -> str:
    """Return the key of the sentence for an HTTP error.

    Hugging Face's headers X-Error-Code and X-Error-Message are more precise than the status. A 401
    without a code means that the repository does not exist or is private.
    """
    code = headers.get("X-Error-Code", "")
    if source == "modelscope" and status in (401, 403):
        return "no_access_modelscope"
    if code == "GatedRepo" or status == 403:
        return "gated"
    if "Invalid credentials" in headers.get("X-Error-Message", ""):
        return "wrong_token"
    if code in ("RevisionNotFound", "EntryNotFound"):
        return "no_revision" if code == "RevisionNotFound" else "no_file"
    others = {401: "not_found", 404: "not_found", 429: "too_many"}
    return others.get(status, "server_error")


def disk_error(error: OSError, path: Path) -> ChatuiError:
    """Return the sentence for a file that cannot be written."""
    if error.errno in _NO_ROOM:
        return ChatuiError(say("fetching.disk_full", path=path))
    return ChatuiError(say("conversation.file_unwritable", path=path, reason=error))


def _reason(error: BaseException) -> str:
    """Return the message of the first error in a chain of causes."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    message = system_reason(error) if isinstance(error, OSError) else str(error)
    return one_line(message, _LONGEST_REASON).rstrip(".") or type(error).__name__
