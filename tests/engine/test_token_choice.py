"""Tokens that the device chooses, one step ahead, against those that the host chooses in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import ask, loaded, parts

from chatui.engine import token_choice
from chatui.engine.architectures.decoder import captured_step
from chatui.engine.engine import Engine
from chatui.engine.memory import is_gpu_lost
from chatui.engine.penalties import ReplySoFar
from chatui.engine.process import failure
from chatui.engine.sampler import Sampler, enabled_steps
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Done, GenerateRequest, PartialReply, Prefill, Token
from chatui.sampling import SamplingSettings

Maker = Callable[[str], Path]

SETTINGS: list[dict[str, Any]] = [
    {"greedy": True},
    {"greedy": True, "repetition_penalty": 1.3, "frequency_penalty": 0.5, "penalty_decay": 0.9},
    {},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "repetition_penalty": 1.1},
    {"temperature": 1.4, "top_p": 0.8, "presence_penalty": 0.4},
    {"temperature": 3.0, "top_p": 0.9, "min_p": 0.02, "temperature_last": True},
    {"min_p": 0.1},
    {"top_k": 10, "uniform_top_k": True},
]


@pytest.fixture(scope="module")
def ahead(made: Maker) -> Engine:
    """A model that is read as in a captured step; not to be changed."""
    return windowed(made)


def windowed(made: Maker) -> Engine:
    engine = loaded(made("llama"))
    engine._loaded().network.decoder.windowed = True  # type: ignore[attr-defined]
    return engine


def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_choice, "DeviceChooser", token_choice.HostChooser)


@pytest.mark.parametrize("values", SETTINGS, ids=str)
def test_replies_are_those_of_the_host(
    ahead: Engine, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, probabilities, other candidates, and what the next query finds in the cache."""
    values = {"greedy": False, "seed": 5} | values

    def replies() -> list[tuple[Prefill, list[Token], Done]]:
        ahead._loaded().prompt_cache.cache = None  # type: ignore[attr-defined]
        return [parts(ask(ahead, query, alternatives=3, **values)) for query in ("春眠", "春眠不")]

    found = replies()
    in_turn(monkeypatch)
    for ours, (prefill, tokens, done) in zip(found, replies(), strict=True):
        assert ours[0].reused_tokens == prefill.reused_tokens
        assert ours[2].output_ids == done.output_ids and len(done.output_ids) > 10
        for one, other in zip(ours[1], tokens, strict=True):
            assert (one.id, one.text) == (other.id, other.text)
            assert one.logprob == pytest.approx(other.logprob, abs=1e-5)
            assert one.alternatives == other.alternatives


def test_a_reply_goes_on_from_a_beginning_and_a_chosen_token(
    ahead: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {
        "frequency_penalty": 2.0,
        "partial_reply": PartialReply("", (9, 11, 9), 17),
    }
    found = parts(ask(ahead, **values))[2].output_ids
    in_turn(monkeypatch)
    assert found == parts(ask(ahead, **values))[2].output_ids
    assert found[:4] == (9, 11, 9, 17)


def test_the_next_step_begins_before_the_last_token_is_read(
    ahead: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    network: Any = ahead._loaded().network
    step, sent = network.step, token_choice.copy_to_host

    def noted_step(*args: Any) -> Any:
        events.append("step")
        return step(*args)

    def noted(tensor: torch.Tensor) -> Any:
        arrived = sent(tensor)
        return lambda: events.append("read") or arrived()  # type: ignore[func-returns-value]

    monkeypatch.setattr(network, "step", noted_step)
    monkeypatch.setattr(token_choice, "copy_to_host", noted)
    ask(ahead, max_new_tokens=4)
    # The first token waits for nothing.
    assert events == ["read", "step", "step", "read", "step", "read", "step", "read"]
    cache: Any = ahead._loaded().prompt_cache
    assert len(cache.ids) == cache.cache.length


@pytest.mark.parametrize("stopped_at", [0, 1, 2, 5])
def test_a_stop_leaves_only_what_was_told(ahead: Engine, stopped_at: int) -> None:
    asked = iter(range(10**6))
    done = parts(ask(ahead, stop_wanted=lambda: next(asked) > stopped_at))[2]
    cache: Any = ahead._loaded().prompt_cache
    assert done.finish_reason == "cancelled"
    assert cache.cache.get_seq_length() == len(cache.ids) == int(cache.cache.position)


def test_a_logit_that_is_no_number_is_told(made: Maker) -> None:
    engine = windowed(made)
    network: Any = engine._loaded().network
    with torch.no_grad():
        network.model.lm_head.weight[9] = float("nan")
    with pytest.raises(ChatuiError, match="NaN"):
        ask(engine)


def test_the_first_query_finds_the_graphs_ready(made: Maker) -> None:
    engine = windowed(made)
    expected = parts(ask(windowed(made)))[2].output_ids
    engine.warm_up(lambda: False)
    cache: Any = engine._loaded().prompt_cache
    steps = dict(cache.cache.steps)
    assert steps and len(cache.ids) > 300
    assert parts(ask(engine))[2].output_ids == expected
    assert cache.cache.steps == steps
    # A query that comes meanwhile does not wait.
    engine.warm_up(lambda: True)
    assert len(cache.ids) < 300


def test_settings_that_ask_the_host_wait_for_it(ahead: Engine) -> None:
    model = ahead._loaded()
    for values, kind in (
        ({"no_repeat_ngram_size": 3}, token_choice.HostChooser),
        ({"top_k": 3}, token_choice.DeviceChooser),
    ):
        reply = ReplySoFar(SamplingSettings(**values), (1, 2))
        assert type(token_choice.chooser_for(model, reply, 1, None, 0)) is kind


@pytest.mark.parametrize("values", SETTINGS, ids=str)
def test_a_choice_on_the_device_never_asks_the_host(values: dict[str, Any]) -> None:
    """On the meta device a number that is read, or a tensor of the CPU, is an error."""
    device = torch.device("meta")
    reply = ReplySoFar(SamplingSettings(**values), (1, 2, 3))
    reply.last_on_device = torch.zeros(1, dtype=torch.int64, device=device)
    sampler = Sampler(reply, 1)
    for _ in range(2):
        number = torch.zeros((), dtype=torch.float64, device=device)
        token = sampler.choose(torch.zeros(50, device=device), number)
        assert token.shape == () and token.device == device


@pytest.mark.parametrize("values", SETTINGS, ids=str)
def test_filters_on_the_device_keep_what_those_on_the_host_keep(values: dict[str, Any]) -> None:
    """Of a large vocabulary, with many logits that are equal, as those of half precision are."""
    for seed in range(3):
        logits = torch.randn(20_000, generator=torch.Generator().manual_seed(seed)).half().float()
        kept = []
        for on_device in (None, torch.tensor([4])):
            reply = ReplySoFar(SamplingSettings(**values), (1, 2), output_ids=[4])
            reply.last_on_device = on_device
            candidates: Any = (logits, None)
            for step in enabled_steps(reply):
                candidates = step(candidates)
            left, ids = candidates
            ids = torch.arange(len(left)) if ids is None else ids
            kept.append(dict(zip(ids.tolist(), left.tolist(), strict=True)))
        host, device = ({k: v for k, v in each.items() if v > -torch.inf} for each in kept)
        assert host == device


LOST = "CUDA error: an illegal memory access was encountered"


@pytest.mark.parametrize("where", ["launch", "arrival"])
def test_a_gpu_that_falls_away_leaves_what_was_told(
    ahead: Engine, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch says it: at a launch, or when the host waits for what was launched before."""
    free = parts(ask(ahead))[2].output_ids
    count = iter(range(100))

    def failing(*args: Any, call: Callable[..., Any]) -> Any:
        if next(count) == 4:
            raise torch.AcceleratorError(LOST)
        return call(*args)

    if where == "launch":
        network: Any = ahead._loaded().network
        monkeypatch.setattr(network, "step", partial(failing, call=network.step))
    else:
        sent = token_choice.copy_to_host
        monkeypatch.setattr(
            token_choice, "copy_to_host", lambda tensor: partial(failing, call=sent(tensor))
        )
    told: list[int] = []
    request = GenerateRequest("春眠不觉晓", sampling=SamplingSettings(greedy=True))
    with pytest.raises(torch.AcceleratorError) as caught:
        for event in ahead.generate(request, lambda: False):
            if isinstance(event, Token):
                told.append(event.id)
    assert told == list(free[:4]) and is_gpu_lost(caught.value)
    assert failure(caught.value).sentence == say("engine.gpu_lost")


def test_a_stop_while_a_step_is_captured(ahead: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl+C reaches the app, which stops the reply; the capture ends in peace."""
    free = parts(ask(ahead))[2].output_ids
    cache: Any = ahead._loaded().prompt_cache
    cache.cache = None
    stopped: list[bool] = []

    class Interrupted(captured_step.CapturedGraph):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            stopped.append(True)

    with monkeypatch.context() as changed:
        changed.setattr(captured_step, "CapturedGraph", Interrupted)
        done = parts(ask(ahead, stop_wanted=lambda: bool(stopped)))[2]
    assert (done.finish_reason, done.output_ids) == ("cancelled", free[:1])
    assert parts(ask(ahead))[2].output_ids == free


class Graph:
    """In place of a CUDA graph: what was done while it was captured is done again."""

    captured: Callable[[], Any]

    def replay(self) -> None:
        self.captured()


@pytest.mark.parametrize("error", [None, RuntimeError("operation not permitted when capturing")])
def test_what_cannot_be_captured_is_run_as_it_is(
    error: RuntimeError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = torch.zeros(1)
    capturing = False

    def work() -> torch.Tensor:
        if capturing and error is not None:
            raise error
        return numbers.add_(1)

    @contextmanager
    def graph(made: Graph) -> Iterator[None]:
        nonlocal capturing
        capturing = True
        made.captured = work
        try:
            yield
        finally:
            capturing = False

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    captured = captured_step.CapturedGraph(work, torch.device("cuda"))
    numbers.zero_()
    assert [float(captured()) for _ in range(3)] == [1, 2, 3]
    assert (captured._graph is None) == (error is not None)
