"""The fields of a request for a reply, and those to leave out after a refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chatui.messages import GenerateRequest
from chatui.sampling import DEFAULTS, SETTINGS, SamplingSettings

_LIMITS = frozenset(("max_new_tokens", "seed"))
"""Settings that are not part of :func:`sampling_fields`."""

_MOST_STOP_STRINGS = 4
"""OpenAI's limit; most other servers take any number."""

NEW_LIMIT_FIELD = "max_completion_tokens"
"""The name of ``max_tokens`` for OpenAI's newer models."""

_REQUIRED = frozenset(("model", "messages", "prompt", "stream"))

_ENDS_THE_REPLY = frozenset(("stop", "max_tokens", NEW_LIMIT_FIELD))

_EXTENSIONS = frozenset(
    {
        *("top_k", "min_p", "repetition_penalty", "repeat_penalty", "seed"),
        *("chat_template_kwargs", "stream_options", "logprobs", "top_logprobs"),
    }
)
"""Fields that some servers do not know."""


def sampling_fields(sampling: SamplingSettings, *, all_fields: bool) -> dict[str, Any]:
    """Return the fields for ``sampling``.

    Args:
        all_fields: also send settings at their defaults. Chat requests leave them to the server,
            which often knows the model's own. Completion requests send all, because servers have
            other defaults (llama-cpp-python: a repetition penalty of 1.1).

    ``top_k``, ``min_p`` and ``repetition_penalty`` are not part of OpenAI's API, but vLLM and
    SGLang (and, as ``repeat_penalty``, llama-server and Ollama) support them.
    """
    fields: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        value = getattr(sampling, name)
        if name in _LIMITS or (sampling.is_greedy and not setting.affects_greedy):
            continue
        if all_fields or value != getattr(DEFAULTS, name):
            fields |= dict.fromkeys(setting.server_fields, value)
    return fields | {"temperature": 0.0} if sampling.is_greedy else fields


def logprob_fields(top: int, *, chat: bool) -> dict[str, Any]:
    """Return the fields that ask for the ``top`` candidates of each token."""
    return {"logprobs": True, "top_logprobs": top} if chat else {"logprobs": top}


def requested_fields(request: GenerateRequest) -> set[str]:
    """Return the names of the fields that the user set, to report those that a server refuses."""
    names = {"stop", "max_tokens", *sampling_fields(request.sampling, all_fields=False)}
    if request.sampling.seed is not None:
        names.add("seed")
    if request.think is not None:
        names.add("chat_template_kwargs")
    if request.alternatives:
        names |= {"logprobs", "top_logprobs"}
    # The same setting as repetition_penalty, for other servers.
    return names - {"repeat_penalty"}


def unsupported_settings(sampling: SamplingSettings) -> tuple[str, ...]:
    """Return the names of the settings in use for which servers have no field."""
    return tuple(
        name
        for name in sampling.active_settings()
        if name != "greedy" and not SETTINGS[name].server_fields
    )


def drop_refused_fields(fields: Mapping[str, Any], complaint: str) -> dict[str, Any] | None:
    """Return the fields for another try after a server answered 400 or 422 with ``complaint``.

    Drops the fields that the complaint names; if it names none, first those that some servers do
    not know, then the other optional ones, and last the limits of the reply. ``max_tokens`` is
    renamed to ``max_completion_tokens`` if the complaint names that. None if no field is left to
    drop.
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
