"""The models that a server lists, and the choice of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from chatui.backends.openai.chunk_decoder import as_object
from chatui.backends.openai.reply_reader import token_count
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line


@dataclass(frozen=True)
class ListedModel:
    """A model in a server's ``/v1/models``.

    Attributes:
        id: its name in requests.
        context_limit: context length in tokens; None if the server does not report it.
    """

    id: str
    context_limit: int | None = None


def models_in(body: Any) -> tuple[ListedModel, ...] | None:
    """Return the models in the body of an answer; None if it is not a list of models."""
    models = body
    if isinstance(body, dict):
        models = body.get("data", body.get("models"))
        # Ollama without any model answers {"data": null}.
        models = [] if models is None and "data" in body else models
    if not isinstance(models, list):
        return None
    return tuple(filter(None, map(_listed, models)))


def _listed(model: Any) -> ListedModel | None:
    """Return the model of an entry: a name, or an object with an id (Ollama: name, model)."""
    entry = model if isinstance(model, dict) else {"id": model}
    names = (entry.get(name) for name in ("id", "model", "name"))
    name = next((name for name in names if isinstance(name, str) and name), None)
    # vLLM and SGLang: max_model_len; llama-server: meta.n_ctx.
    meta = as_object(entry.get("meta"))
    limits = [entry.get(name) for name in ("max_model_len", "context_length")]
    limits += [meta.get("n_ctx"), meta.get("n_ctx_train")]
    limit = next(filter(None, map(token_count, limits)), None)
    return ListedModel(name, limit) if name else None


def choose_model(listed: tuple[ListedModel, ...], wanted: str, url: str) -> ListedModel:
    """Return the listed model that ``wanted`` names; "" takes the first one.

    The owner of a repository and Ollama's tag ":latest" may be left out. SGLang's adapters are
    named BASE:ADAPTER (docs.sglang.io, "LoRA Serving"). With an empty list, ``wanted`` is trusted.

    Raises:
        ChatuiError: the model is not in the list, or the list is empty and ``wanted`` too.
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
            return ListedModel(wanted)
        raise ChatuiError(say("backends.no_models", url=url))
    ids = [model.id for model in listed]
    nearest = get_close_matches(wanted, ids, n=3, cutoff=0.3)
    names = ", ".join(map(one_line, list(dict.fromkeys((*nearest, *ids)))[:3]))
    raise ChatuiError(say("backends.model_not_listed", url=url, model=wanted, names=names))
