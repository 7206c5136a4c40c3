"""The fields of a request for a reply, and which are left out after a server refused it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chatui.sampling import DEFAULTS, SETTINGS, SamplingSettings

_LIMITS = frozenset(("max_new_tokens", "seed"))
"""Settings that a request gets apart from its sampling."""

_MOST_STOP_STRINGS = 4
"""OpenAI's own limit; most other servers take any number."""

NEW_LIMIT_FIELD = "max_completion_tokens"
"""What OpenAI's newer models call ``max_tokens``."""

_REQUIRED = frozenset(("model", "messages", "prompt", "stream"))

_ENDS_THE_REPLY = frozenset(("stop", "max_tokens", NEW_LIMIT_FIELD))

_EXTENSIONS = frozenset(
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
        if name in _LIMITS or (sampling.is_greedy and not setting.affects_greedy):
            continue
        if all_fields or value != getattr(DEFAULTS, name):
            fields |= dict.fromkeys(setting.server_fields, value)
    return fields | {"temperature": 0.0} if sampling.is_greedy else fields


def unsupported_settings(sampling: SamplingSettings) -> tuple[str, ...]:
    """Names of the settings in use that no server has a field for."""
    return tuple(
        name
        for name in sampling.active_settings()
        if name != "greedy" and not SETTINGS[name].server_fields
    )


def drop_refused_fields(fields: Mapping[str, Any], complaint: str) -> dict[str, Any] | None:
    """What is left of ``fields`` after a server answered 400 or 422 with ``complaint``.

    Fields that the complaint names are left out; if it names none, first those that not every
    server has, then the others, and last what ends the reply. A server that wants
    ``max_completion_tokens`` gets it. None if nothing is left to leave out.
    """
    if NEW_LIMIT_FIELD in complaint and "max_tokens" in fields:
        changed = {name: value for name, value in fields.items() if name != "max_tokens"}
        return {**changed, NEW_LIMIT_FIELD: fields["max_tokens"]}
    optional = [name for name in fields if name not in _REQUIRED]
    words = frozenset(re.findall(r"\w+", complaint))
    named = {name for name in optional if name in words}
    if named == {"stop"} and len(fields["stop"]) > _MOST_STOP_STRINGS:
        return {**fields, "stop": fields["stop"][:_MOST_STOP_STRINGS]}
    dropped = (
        named
        or _EXTENSIONS.intersection(optional)
        or frozenset(optional) - _ENDS_THE_REPLY
        or frozenset(optional)
    )
    if not dropped:
        return None
    return {name: value for name, value in fields.items() if name not in dropped}
