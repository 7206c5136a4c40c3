"""Prefill of the next prompt's known beginning, while the engine waits for the next query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce

from chatui.engine.architectures.rwkv.rwkv_network import RwkvNetwork
from chatui.engine.generate import build_prompt
from chatui.engine.model import LoadedModel, common_prefix
from chatui.errors import ChatuiError
from chatui.messages import GenerateRequest, ModelSpec
from chatui.prompting.format import PromptFormat

_SAMPLE_QUERIES = ("甲", "a", "1")
"""Queries with different first tokens, whose prompts share what is independent of the query."""

_CONTINUE_FREE_TEXT = "+++"


def common_beginning(prompts: Iterable[Sequence[int]]) -> Sequence[int]:
    """Return the longest common prefix of ``prompts``, in tokens."""
    return reduce(lambda one, other: one[: common_prefix(one, other)], prompts)


def opening_tokens(
    format: PromptFormat, encode: Callable[[str], list[int]], spec: ModelSpec
) -> list[int]:
    """Return the tokens with which every chat begins."""
    renderings = (format.render((), query, spec.system) for query in _SAMPLE_QUERIES)
    return list(common_beginning([encode(text) for text in renderings]))


def prefill_next_prompt(
    model: LoadedModel, request: GenerateRequest, reply: str, stop_wanted: Callable[[], bool]
) -> None:
    """Read the beginning of the next prompt, so that only the next query is left to read.

    After a reply the state holds the generated tokens except the last one. The next prompt contains
    the reply as it is stored: stripped, encoded by the tokenizer, and followed by the format's
    text. Usually a few more tokens have to be read. If the stored reply differs from the generated
    tokens, it is read again, so that results do not depend on the cache.
    """
    network = model.network
    assert isinstance(network, RwkvNetwork)
    free = model.format.is_free_text(request.query)
    queries = (_CONTINUE_FREE_TEXT,) if free else _SAMPLE_QUERIES
    after = replace(request, history=(*request.history, (request.query, reply)))
    try:
        prompts = [build_prompt(model, replace(after, query=query)).ids for query in queries]
    except ChatuiError:
        return
    ids = tuple(common_beginning(prompts))
    # `take` leaves out the last token of a prompt, and `ids` is only the beginning of one.
    cache, _ = model.prompt_cache.take(network, ids if free else (*ids, *ids[-1:]))
    network.read_up_to(ids[: len(ids) - free], cache, stop_wanted)
    model.prompt_cache.put(network, cache, cache.ids.copy())
