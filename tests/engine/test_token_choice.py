"""Tokens chosen on the device one step ahead, against tokens chosen on the host."""

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
from chatui.engine.architectures.decoder import fixed_cache
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
def on_device(made: Maker) -> Engine:
    """A model with the step of a CUDA graph; tests must not change it."""
    return windowed(made)


def windowed(made: Maker) -> Engine:
    engine = loaded(made("llama"))
    engine._loaded().network.decoder.windowed = True  # type: ignore[attr-defined]
    return engine


def choose_on_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_choice, "DeviceChooser", token_choice.HostChooser)


@pytest.mark.parametrize("values", SETTINGS, ids=str)
def test_replies_equal_those_of_the_host(
    on_device: Engine, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In text, probabilities, candidates, and tokens reused by the next query."""
    values = {"greedy": False, "seed": 5} | values

    def replies() -> list[tuple[Prefill, list[Token], Done]]:
        on_device._loaded().prompt_cache.cache = None  # type: ignore[attr-defined]
        return [
            parts(ask(on_device, query, alternatives=3, **values)) for query in ("春眠", "春眠不")
        ]

    found = replies()
    choose_on_host(monkeypatch)
    for ours, (prefill, tokens, done) in zip(found, replies(), strict=True):
        assert ours[0].reused_tokens == prefill.reused_tokens
        assert ours[2].output_ids == done.output_ids and len(done.output_ids) > 10
        for one, other in zip(ours[1], tokens, strict=True):
            assert (one.id, one.text) == (other.id, other.text)
            assert one.logprob == pytest.approx(other.logprob, abs=1e-5)
            assert one.alternatives == other.alternatives


def test_a_continued_reply_with_a_forced_token(
    on_device: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {
        "frequency_penalty": 2.0,
        "partial_reply": PartialReply("", (9, 11, 9), 17),
    }
    found = parts(ask(on_device, **values))[2].output_ids
    choose_on_host(monkeypatch)
    assert found == parts(ask(on_device, **values))[2].output_ids
    assert found[:4] == (9, 11, 9, 17)


def test_the_next_step_starts_before_the_host_reads_the_token(
    on_device: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    network: Any = on_device._loaded().network
    step, sent = network.step, token_choice.copy_to_host

    def noted_step(*args: Any) -> Any:
        events.append("step")
        return step(*args)

    def noted(tensor: torch.Tensor) -> Any:
        arrived = sent(tensor)
        return lambda: events.append("read") or arrived()  # type: ignore[func-returns-value]

    monkeypatch.setattr(network, "step", noted_step)
    monkeypatch.setattr(token_choice, "copy_to_host", noted)
    ask(on_device, max_new_tokens=4)
    # The first token is chosen without a step.
    assert events == ["read", "step", "step", "read", "step", "read", "step", "read"]
    cache: Any = on_device._loaded().prompt_cache
    assert len(cache.ids) == cache.cache.length


@pytest.mark.parametrize("stopped_at", [0, 1, 2, 5])
def test_a_stop_leaves_only_reported_tokens_in_the_cache(
    on_device: Engine, stopped_at: int
) -> None:
    asked = iter(range(10**6))
    done = parts(ask(on_device, stop_wanted=lambda: next(asked) > stopped_at))[2]
    cache: Any = on_device._loaded().prompt_cache
    assert done.finish_reason == "cancelled"
    assert cache.cache.get_seq_length() == len(cache.ids) == int(cache.cache.position)


def test_a_nan_logit_is_reported(made: Maker) -> None:
    engine = windowed(made)
    network: Any = engine._loaded().network
    with torch.no_grad():
        network.model.lm_head.weight[9] = float("nan")
    with pytest.raises(ChatuiError, match="NaN"):
        ask(engine)


def test_warm_up_captures_the_graphs(made: Maker) -> None:
    engine = windowed(made)
    expected = parts(ask(windowed(made)))[2].output_ids
    engine.warm_up(lambda: False)
    cache: Any = engine._loaded().prompt_cache
    steps = dict(cache.cache.steps)
    assert steps and len(cache.ids) > 300
    assert parts(ask(engine))[2].output_ids == expected
    assert cache.cache.steps == steps
    # A query that arrives stops the warm-up.
    engine.warm_up(lambda: True)
    assert len(cache.ids) < 300


def test_settings_select_the_chooser(on_device: Engine) -> None:
    model = on_device._loaded()
    for values, kind in (
        ({"no_repeat_ngram_size": 3}, token_choice.HostChooser),
        ({"top_k": 3}, token_choice.DeviceChooser),
    ):
        reply = ReplySoFar(SamplingSettings(**values), (1, 2))
        assert token_choice.chooser_class(model, reply) is kind


@pytest.mark.parametrize("values", SETTINGS, ids=str)
def test_choosing_on_the_device_never_waits_for_the_host(values: dict[str, Any]) -> None:
    """On the meta device, reading a value or mixing in a CPU tensor is an error."""
    device = torch.device("meta")
    reply = ReplySoFar(SamplingSettings(**values), (1, 2, 3))
    reply.last_on_device = torch.zeros(1, dtype=torch.int64, device=device)
    sampler = Sampler(reply, 1)
    for _ in range(2):
        number = torch.zeros((), dtype=torch.float64, device=device)
        token = sampler.choose(torch.zeros(50, device=device), number)
        assert token.shape == () and token.device == device


@pytest.mark.parametrize("values", SETTINGS, ids=str)
def test_filters_on_the_device_match_the_host(values: dict[str, Any]) -> None:
    """For a large vocabulary with many equal logits, as in half precision."""
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
def test_a_lost_gpu_keeps_the_reported_tokens(
    on_device: Engine, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch reports it at a launch, or when the host waits for an earlier launch."""
    free = parts(ask(on_device))[2].output_ids
    count = iter(range(100))

    def failing(*args: Any, call: Callable[..., Any]) -> Any:
        if next(count) == 4:
            raise torch.AcceleratorError(LOST)
        return call(*args)

    if where == "launch":
        network: Any = on_device._loaded().network
        monkeypatch.setattr(network, "step", partial(failing, call=network.step))
    else:
        sent = token_choice.copy_to_host
        monkeypatch.setattr(
            token_choice, "copy_to_host", lambda tensor: partial(failing, call=sent(tensor))
        )
    told: list[int] = []
    request = GenerateRequest("春眠不觉晓", sampling=SamplingSettings(greedy=True))
    with pytest.raises(torch.AcceleratorError) as caught:
        for event in on_device.generate(request, lambda: False):
            if isinstance(event, Token):
                told.append(event.id)
    assert told == list(free[:4]) and is_gpu_lost(caught.value)
    assert failure(caught.value).sentence == say("engine.gpu_lost")


def test_a_stop_during_a_capture(on_device: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop request does not abort the capture."""
    free = parts(ask(on_device))[2].output_ids
    cache: Any = on_device._loaded().prompt_cache
    cache.cache = None
    stopped: list[bool] = []

    class Interrupted(fixed_cache.CapturedGraph):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            stopped.append(True)

    with monkeypatch.context() as changed:
        changed.setattr(fixed_cache, "CapturedGraph", Interrupted)
        done = parts(ask(on_device, stop_wanted=lambda: bool(stopped)))[2]
    assert (done.finish_reason, done.output_ids) == ("cancelled", free[:1])
    assert parts(ask(on_device))[2].output_ids == free


class Graph:
    """Stands in for a CUDA graph: replays the captured function."""

    captured: Callable[[], Any]

    def replay(self) -> None:
        self.captured()


@pytest.mark.parametrize("error", [None, RuntimeError("operation not permitted when capturing")])
def test_functions_that_cannot_be_captured_run_uncaptured(
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
    captured = fixed_cache.CapturedGraph(work, torch.device("cuda"))
    numbers.zero_()
    assert [float(captured()) for _ in range(3)] == [1, 2, 3]
    assert (captured._graph is None) == (error is not None)
