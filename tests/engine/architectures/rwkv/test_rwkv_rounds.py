"""Reuse of the state in a conversation: fewer tokens to read, and the same results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_rwkv
import torch
from conftest import Ask

from chatui.engine.architectures.rwkv.rwkv_modeling import RwkvState
from chatui.engine.architectures.rwkv.rwkv_network import RwkvCache, RwkvNetwork, StateStore
from chatui.engine.cache import LastPromptCache
from chatui.engine.engine import Engine
from chatui.engine.network import prefill_chunk
from chatui.messages import Done, GenerateRequest, PartialReply, Prefill

Load = Callable[..., Engine]
QUERIES = ("春眠不觉晓", "处处闻\n啼鸟", "夜来风雨声", "花落知多少")


@pytest.fixture(params=["raven", "world"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made: Path = getattr(tiny_rwkv, request.param)(tmp_path, dtype="float32", seed=3)
    return made


@pytest.fixture
def raven(tmp_path: Path) -> Path:
    return tiny_rwkv.raven(tmp_path, dtype="float32", seed=3)


def unread(prefill: Prefill) -> int:
    return prefill.prompt_tokens - prefill.reused_tokens


def new_part(engine: Engine, query: str, user: str = "Bob", bot: str = "Alice") -> int:
    """Return the number of tokens that a round adds before its reply, without the leading name."""
    return len(engine._loaded().codec.encode(f" {query}\n\n{bot}:"))


def test_only_the_new_query_is_read(file: Path, load: Load, ask: Ask) -> None:
    engine = load(file)
    bot = "Assistant" if "World" in file.name else "Alice"
    history: tuple[tuple[str, str], ...] = ()
    before = 0
    for number, query in enumerate(QUERIES):
        prefill, _, done = ask(engine, query, history, system=None)
        if number:
            assert unread(prefill) <= new_part(engine, query, bot=bot) + 1
            assert prefill.reused_tokens > before
        before = prefill.prompt_tokens
        history = (*history, (query, done.text))
    assert before > 150


def test_reusing_the_state_changes_no_tokens(file: Path, load: Load, ask: Ask) -> None:
    """New, repeated and edited rounds, and a second conversation."""
    kept, fresh = load(file), load(file)
    sampling = {"greedy": "World" not in file.name, "seed": 5, "max_new_tokens": 12}
    history: tuple[tuple[str, str], ...] = ()
    asked: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    for query in QUERIES:
        asked.append((query, history))
        fresh._loaded().prompt_cache = LastPromptCache()
        history = (*history, (query, ask(fresh, query, history, **sampling)[2].text))
    asked += [(QUERIES[-1], history[:-1]), ("白日依山尽", history[:-1]), ("白日", ())]
    asked += [("黄河", (("白日", "依山"), *history[1:])), (QUERIES[-1], history[:-1])]
    reused = []
    for query, rounds in asked:
        fresh._loaded().prompt_cache = LastPromptCache()
        none, _, expected = ask(fresh, query, rounds, **sampling)
        prefill, _, got = ask(kept, query, rounds, **sampling)
        assert none.reused_tokens == 0
        assert prefill.prompt == none.prompt
        assert got.output_ids == expected.output_ids
        reused.append(unread(prefill))
    assert reused[4] == reused[-1] == 1


def test_the_state_is_reused_after_every_finish_reason(raven: Path, load: Load, ask: Ask) -> None:
    """After a stop string or a length limit, the next round reads its query only."""
    engine = load(raven)
    full = ask(engine, QUERIES[0], max_new_tokens=20)[2]
    stop = full.text[len(full.text) // 2 :][:3]
    for stops in (False, True):
        engine = load(raven, stop_strings=(stop,) if stops else ())
        _, _, done = ask(engine, QUERIES[0], max_new_tokens=20)
        assert done.finish_reason == ("stop" if stops else "length")
        assert (stop not in done.text) == stops
        prefill, _, _ = ask(engine, QUERIES[1], [(QUERIES[0], done.text)])
        assert unread(prefill) <= new_part(engine, QUERIES[1]) + 1


def test_the_state_is_reused_after_a_stopped_reply(raven: Path, load: Load, ask: Ask) -> None:
    engine, fresh = load(raven), load(raven)
    left = iter([False] * 9)
    _, _, done = ask(engine, QUERIES[0], stop_wanted=lambda: next(left, True))
    assert done.finish_reason == "cancelled"
    assert 0 < len(done.output_ids) < 9
    history = [(QUERIES[0], done.text)]
    prefill, _, got = ask(engine, QUERIES[1], history)
    assert prefill.reused_tokens > 0
    assert got.output_ids == ask(fresh, QUERIES[1], history)[2].output_ids
    _, _, none = ask(load(raven), "春" * 400, stop_wanted=lambda: True)
    assert (none.output_ids, none.finish_reason) == ((), "cancelled")


def test_a_prompt_can_be_stopped_between_chunks(raven: Path, load: Load, ask: Ask) -> None:
    engine = load(raven)
    network = engine._loaded().network
    assert isinstance(network, RwkvNetwork)
    assert network.chunk == prefill_chunk(engine._loaded().summary.parameters, torch.device("cpu"))
    whole = ask(engine, "春眠不觉晓" * 20)[2].output_ids
    network.chunk = 8
    engine._loaded().prompt_cache = StateStore()
    asked = iter((False, False, False))
    request = GenerateRequest("春眠不觉晓" * 20, system="")
    stopped = list(engine.generate(request, lambda: next(asked, True)))
    assert isinstance(stopped[-1], Done) and stopped[-1].finish_reason == "cancelled"
    prefill, _, again = ask(engine, "春眠不觉晓" * 20)
    assert 0 < prefill.reused_tokens <= 3 * 8
    assert again.output_ids == whole


def test_the_oldest_rounds_are_dropped(raven: Path, load: Load, ask: Ask) -> None:
    engine, fresh = load(raven, context_limit=150), load(raven, context_limit=150)
    history: tuple[tuple[str, str], ...] = ()
    dropped = []
    for number in range(6):
        prefill, _, done = ask(engine, QUERIES[number % 4], history)
        assert done.output_ids == ask(fresh, QUERIES[number % 4], history)[2].output_ids
        assert prefill.prompt_tokens + len(done.output_ids) <= 150
        dropped.append(prefill.dropped_rounds)
        history = (*history, (QUERIES[number % 4], done.text))
    assert dropped[0] == 0 < dropped[-1]


def test_variants_and_free_text_beside_the_chat(raven: Path, load: Load, ask: Ask) -> None:
    """ChatRWKV's commands on the state: chat_pre, gen_0 and gen_1 of v2/chat.py."""
    engine = load(raven)
    first = ask(engine, "春眠不觉晓")[2]
    history = [("春眠不觉晓", first.text)]
    again, _, _ = ask(engine, "+", history, greedy=False, seed=1)
    assert unread(again) == 1
    free, _, written = ask(engine, "+gen 夜来", history)
    assert free.prompt == "\n夜来"
    history.append(("+gen 夜来", written.text))
    more, _, further = ask(engine, "+++", history)
    assert more.prompt == f"\n夜来{written.text}"
    assert unread(more) == 1
    history.append(("+++", further.text))
    retry, _, same = ask(engine, "++", history)
    assert (retry.prompt, same.output_ids) == (more.prompt, further.output_ids)
    assert unread(retry) == 1
    chat, _, _ = ask(engine, "花落", history)
    assert chat.prompt == f"Bob: 春眠不觉晓\n\nAlice: {first.text}\n\nBob: 花落\n\nAlice:"
    assert unread(chat) <= new_part(engine, "花落") + 1


def test_white_space_of_free_text_is_kept(raven: Path, load: Load, ask: Ask) -> None:
    """A continuation by +++ keeps spaces and newlines at its beginning."""
    engine = load(raven)
    for seed in range(2):
        _, tokens, done = ask(engine, "+gen a", greedy=False, seed=seed, max_new_tokens=None)
        assert "".join(token.text for token in tokens) == done.text
        assert done.finish_reason == "eos" or len(done.output_ids) == 256
        assert (
            ask(engine, "+++", [("+gen a", done.text)], max_new_tokens=1)[0].prompt
            == f"\na{done.text}"
        )


def test_reset_does_not_run_the_model(raven: Path, load: Load, ask: Ask) -> None:
    engine = load(raven)
    opening, _, _ = ask(engine, "春", system=None)
    prefill, tokens, done = ask(engine, "+reset", [("春", "眠")], system=None)
    assert (done.text, done.output_ids, prefill.prompt_tokens) == ("The chat was reset.", (), 0)
    assert "".join(token.text for token in tokens) == done.text
    after, _, _ = ask(engine, "春", [("春", "眠"), ("+reset", done.text)], system=None)
    assert after.prompt == opening.prompt
    assert unread(after) == 1


def test_a_chat_reply_does_not_begin_with_a_newline(raven: Path, load: Load, ask: Ask) -> None:
    """It does not stop at an end token either; both as in v2/chat.py."""
    engine = load(raven)
    newline = engine._loaded().codec.encode("\n")[0]
    for seed in range(12):
        ids = ask(engine, "春", greedy=False, temperature=3.0, seed=seed, newline_bias=True)[2]
        assert newline not in ids.output_ids[:2]
        assert 0 not in ids.output_ids


def test_inspecting_keeps_the_state(raven: Path, load: Load, ask: Ask) -> None:
    engine = load(raven)
    request = GenerateRequest("春", system="")
    inspection = engine.inspect(request, 3)
    assert inspection.position_ids == ()
    prefill, tokens, _ = ask(engine, "春")
    assert unread(prefill) == 1
    assert tokens[0].id == inspection.next[0].id


def test_the_store_drops_the_least_recently_used_state() -> None:

    store, state = StateStore(max_states=3), RwkvState(torch.zeros(1), torch.zeros(1))

    class Network:
        def new_cache(self) -> RwkvCache:
            return RwkvCache([], state)

    network = Network()
    for ids in ([1], [1, 2], [7, 8]):
        store.put(network, RwkvCache(ids, state), ids)  # type: ignore[arg-type]
    assert store.take(network, [1, 2, 3])[1] == 2  # type: ignore[arg-type]
    assert store.take(network, [1, 9])[1] == 1  # type: ignore[arg-type]
    store.put(network, RwkvCache([5], state), [5])  # type: ignore[arg-type]
    assert store.take(network, [7, 8, 9])[1] == 0  # type: ignore[arg-type]
    assert store.take(network, [1, 2])[1] == 1  # type: ignore[arg-type]
    assert store.take(network, [5])[1] == 0  # type: ignore[arg-type]


def test_scoring_a_reply_gives_its_original_probabilities(file: Path, load: Load, ask: Ask) -> None:
    engine = load(file, eos_ids=(100_000,))
    _, tokens, done = ask(engine, QUERIES[0])
    begun = PartialReply("x", done.output_ids)
    found = engine.score(GenerateRequest(QUERIES[0], system="", partial_reply=begun), lambda: False)
    assert found.logprobs == pytest.approx([token.logprob for token in tokens], abs=1e-4)
