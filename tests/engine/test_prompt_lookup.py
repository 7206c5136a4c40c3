"""Prompt look-up decoding gives the same replies with fewer reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import FAMILIES, ask, loaded, parts

from chatui.engine.token_choice import PromptLookup

Maker = Callable[[str], Path]
QUERIES = ("春眠不觉晓，处处闻啼鸟。" * 3, "春眠不觉晓，处处闻啼鸟。春眠不觉晓，")


@pytest.mark.parametrize(
    ("family", "weights"), [*((family, "plain") for family in FAMILIES), ("llama", "int8")]
)
def test_greedy_replies_are_the_same(made: Maker, family: str, weights: str) -> None:
    """The next round reuses the same part of the cache."""

    def replies(ahead: bool) -> list[Any]:
        engine = loaded(made(family), weights=weights, system="")
        network: Any = engine._loaded().network
        assert network.benefits_from_drafts or weights == "int8", "only int8 weights do not benefit"
        network.benefits_from_drafts = ahead
        found: list[Any] = []
        history: tuple[tuple[str, str], ...] = ()
        for query in QUERIES:
            prefill, _, done = parts(ask(engine, query, history, max_new_tokens=24))
            history = (*history, (query, done.text))
            found.append((done.output_ids, prefill.reused_tokens, prefill.prompt_tokens))
        return found

    assert replies(ahead=True) == replies(ahead=False)


class Counting:
    """A network whose next token is the token + 1; it counts its reads."""

    def __init__(self) -> None:
        self.reads = self.length = 0

    def read_reply(self, ids: tuple[int, ...], cache: Counting) -> torch.Tensor:
        self.reads += 1
        self.length += len(ids)
        return torch.nn.functional.one_hot((torch.tensor(ids) + 1) % 20, 20).float()

    def step(self, token: int, cache: Counting) -> torch.Tensor:
        return self.read_reply((token,), cache)[0]

    def crop(self, tokens_to_remove: int) -> None:
        self.length += tokens_to_remove


@pytest.mark.parametrize(("prompt", "most"), [([*range(20)] * 2, 13), ([*range(0, 20, 2)] * 2, 24)])
def test_repeated_text_takes_fewer_reads(prompt: list[int], most: int) -> None:
    """For a quotation; tokens in another order need only a few more reads."""
    network = Counting()
    network.length = len(prompt)
    lookup = PromptLookup(network, network, prompt)
    token, reply = 0, []
    for _ in range(20):
        logits = lookup.step(token)
        reply.append(token)
        assert int(logits.argmax()) == (token + 1) % 20
        token = int(logits.argmax())
    assert reply == [*range(20)] and network.reads <= most
    lookup.drop_draft()
    assert network.length == len(prompt) + 20
