"""Between two queries: the state is brought to where every next prompt begins."""

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

_ANY_QUERIES = ("甲", "a", "1")
_ON_WITH_FREE_TEXT = "+++"


def common_beginning(prompts: Iterable[Sequence[int]]) -> Sequence[int]:
    """The tokens with which all of ``prompts`` begin."""
    return reduce(lambda one, other: one[: common_prefix(one, other)], prompts)


def opening_tokens(
    format: PromptFormat, encode: Callable[[str], list[int]], spec: ModelSpec
) -> list[int]:
    """The tokens with which every chat begins."""
    renderings = (format.render((), query, spec.system) for query in _ANY_QUERIES)
    return list(common_beginning([encode(text) for text in renderings]))


def prefill_next_prompt(
    model: LoadedModel, request: GenerateRequest, reply: str, stop_wanted: Callable[[], bool]
) -> None:
    """Read what every next prompt begins with, so that only the next query is left to read.

    After a reply the state holds the tokens as they were generated, up to but not with the last.
    The next prompt has the reply as it is kept: stripped, in the tokenizer's own tokens, with what
    the format puts after it. Mostly that is a few tokens more; where the two differ, the reply is
    read as it is kept, so a prompt means the same whether or not its beginning was kept.
    """
    network = model.network
    assert isinstance(network, RwkvNetwork)
    free = model.format.is_free(request.query)
    queries = (_ON_WITH_FREE_TEXT,) if free else _ANY_QUERIES
    after = replace(request, history=(*request.history, (request.query, reply)))
    try:
        prompts = [build_prompt(model, replace(after, query=query)).ids for query in queries]
    except ChatuiError:
        return
    ids = tuple(common_beginning(prompts))
    # A prompt is longer than what is taken for it; these ids are only the beginning of one.
    reading, _ = model.prompt_cache.take(network, ids if free else (*ids, *ids[-1:]))
    network.read_up_to(ids[: len(ids) - free], reading, stop_wanted)
    model.prompt_cache.put(network, reading, reading.ids.copy())
