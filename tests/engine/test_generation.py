"""The decode loop on every family, against generate() of transformers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch
from asking import FAMILIES, ask, loaded, parts, spec
from tiny_models import HANZI

from chatui.engine.engine import Engine
from chatui.errors import ChatuiError
from chatui.messages import GenerateRequest, PartialReply, ReplyEvent, Token
from chatui.sampling import SamplingSettings

Maker = Callable[[str], Path]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_replies_equal_generate(made: Maker, family: str) -> None:
    engine = loaded(made(family), eos_ids=(100_000,), format="bloomz")
    prefill, tokens, done = parts(ask(engine, max_new_tokens=40, stop_strings=()))
    model = engine._loaded()
    ids = model.codec.encode(prefill.prompt)
    expected = model.network.model.generate(  # type: ignore[attr-defined]
        torch.tensor([ids]), do_sample=False, max_new_tokens=40, eos_token_id=100_000
    )[0, len(ids) :]
    assert list(done.output_ids) == expected.tolist()
    assert done.finish_reason == "length"
    assert (done.prompt_tokens, done.output_tokens) == (len(ids), 40) == (prefill.prompt_tokens, 40)
    assert [token.id for token in tokens] == list(done.output_ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokens_join_to_the_text(made: Maker, family: str) -> None:
    engine = loaded(made(family), eos_ids=(100_000,))
    clean = engine._loaded().format.clean_reply
    for seed in range(5):
        _, tokens, done = parts(ask(engine, greedy=False, seed=seed, max_new_tokens=60))
        assert clean("".join(token.text for token in tokens)) == done.text


def test_log_probabilities_are_of_the_raw_logits(made: Maker) -> None:
    engine = loaded(made("llama"))
    _, tokens, done = parts(ask(engine, alternatives=3, greedy=False, temperature=0.3, seed=2))
    model = engine._loaded()
    ids = model.codec.encode(parts(ask(engine))[0].prompt) + list(done.output_ids)
    with torch.inference_mode():
        logits = model.network.model(torch.tensor([ids])).logits[0]  # type: ignore[attr-defined]
    for place, token in enumerate(tokens, len(ids) - len(tokens) - 1):
        raw = logits[place].log_softmax(0)
        assert token.logprob == pytest.approx(float(raw[token.id]), abs=1e-3)
        best, best_ids = torch.topk(logits[place], 3)
        assert [one.id for one in token.alternatives] == best_ids.tolist()
        for one, logit in zip(token.alternatives, best.tolist(), strict=True):
            assert one.logit == pytest.approx(logit, abs=1e-3)
            assert one.probability == pytest.approx(float(raw[one.id].exp()), abs=1e-4)
            assert one.token == model.codec.piece(one.id)


def test_the_same_seed_gives_the_same_text(made: Maker) -> None:
    engine = loaded(made("gpt2_chinese"))
    first = parts(ask(engine, greedy=False, seed=5))[2]
    assert parts(ask(loaded(made("gpt2_chinese")), greedy=False, seed=5))[2].text == first.text
    drawn = [parts(ask(engine, greedy=False))[2] for _ in range(3)]
    assert len({done.seed for done in drawn}) == 3
    again = parts(ask(engine, greedy=False, seed=drawn[0].seed))[2]
    assert (again.text, again.seed) == (drawn[0].text, drawn[0].seed)


def test_an_eos_token_ends_the_reply_and_is_not_shown(made: Maker) -> None:
    free = parts(ask(loaded(made("gpt2_chinese"), eos_ids=(100_000,))))[2]
    end = next(id for place, id in enumerate(free.output_ids) if place > 4)
    _, tokens, done = parts(ask(loaded(made("gpt2_chinese"), eos_ids=(end,))))
    place = free.output_ids.index(end)
    assert done.output_ids == free.output_ids[: place + 1]
    assert done.finish_reason == "eos"
    assert tokens[-1].text == ""


def test_a_stop_string_is_never_shown(made: Maker) -> None:
    free = parts(ask(loaded(made("gpt2_chinese"), eos_ids=(100_000,)), max_new_tokens=40))[2]
    stop = free.text[10:13]
    for engine, strings in (
        (loaded(made("gpt2_chinese"), eos_ids=(100_000,)), (stop,)),
        (loaded(made("gpt2_chinese"), eos_ids=(100_000,), stop_strings=(stop,)), ()),
    ):
        _, tokens, done = parts(ask(engine, max_new_tokens=40, stop_strings=strings))
        assert done.finish_reason == "stop"
        assert done.text == free.text[: free.text.index(stop)]
        assert "".join(token.text for token in tokens) == done.text


def test_text_held_for_a_stop_string_is_shown_at_the_end(made: Maker) -> None:
    engine = loaded(made("gpt2_chinese"), eos_ids=(100_000,))
    free = parts(ask(engine, max_new_tokens=20))[2]
    almost = (free.text[-3:] + "never",)
    _, tokens, done = parts(ask(engine, max_new_tokens=20, stop_strings=almost))
    assert (done.text, done.finish_reason) == (free.text, "length")
    assert "".join(token.text for token in tokens) == free.text
    answers = itertools.chain([False] * 31, itertools.repeat(True))
    _, tokens, done = parts(
        ask(engine, max_new_tokens=20, stop_strings=almost, stop_wanted=lambda: next(answers))
    )
    assert "".join(token.text for token in tokens) == done.text


def test_a_stopped_reply_keeps_its_text(made: Maker) -> None:
    engine = loaded(made("llama"), eos_ids=(100_000,))
    free = parts(ask(engine, max_new_tokens=40))[2]
    count = 0

    def after_ten() -> bool:
        nonlocal count
        count += 1
        return count > 20

    _, tokens, done = parts(ask(engine, max_new_tokens=40, stop_wanted=after_ten))
    assert done.finish_reason == "cancelled"
    assert 0 < len(done.output_ids) < 40
    assert done.output_ids == free.output_ids[: len(done.output_ids)]
    assert done.text.startswith("".join(token.text for token in tokens).strip()[:5])
    # The stop does not affect the next reply.
    assert parts(ask(engine, max_new_tokens=40))[2].output_ids == free.output_ids


def test_a_stop_during_prefill(made: Maker) -> None:
    engine = loaded(made("llama"))
    _, tokens, done = parts(ask(engine, stop_wanted=lambda: True))
    assert (done.finish_reason, done.text, tokens) == ("cancelled", "", [])
    expected = parts(ask(loaded(made("llama"))))[2].output_ids
    assert parts(ask(engine))[2].output_ids == expected


def test_a_stop_within_a_chunk_of_the_prompt(made: Maker) -> None:
    """It takes effect before the next layer, and the next reply is as without it."""
    engine = loaded(made("llama"))
    answers = itertools.chain((False, False), itertools.repeat(True))
    _, tokens, done = parts(ask(engine, stop_wanted=lambda: next(answers)))
    assert (done.finish_reason, done.text, tokens) == ("cancelled", "", [])
    expected = parts(ask(loaded(made("llama"))))[2].output_ids
    assert parts(ask(engine))[2].output_ids == expected


def test_rounds_that_do_not_fit_are_dropped(made: Maker) -> None:
    engine = loaded(made("gpt2_chinese"), format="shiyou", context_limit=100, reply_reserve=30)
    history = tuple((HANZI[i], HANZI[i] * 4) for i in range(12))
    prefill, _, done = parts(ask(engine, HANZI[:3], history, max_new_tokens=None))
    assert prefill.dropped_rounds > 0
    kept = history[prefill.dropped_rounds :]
    assert prefill.prompt == engine._loaded().format.render(kept, HANZI[:3], None)
    assert prefill.prompt_tokens <= 70
    assert done.prompt_tokens + done.output_tokens <= 100


def test_a_request_can_limit_the_window(made: Maker) -> None:
    engine = loaded(made("gpt2_chinese"), context_limit=100, eos_ids=(100_000,))
    history = tuple((HANZI[i], HANZI[i] * 4) for i in range(12))
    whole, narrow, wider = (
        parts(ask(engine, HANZI[:3], history, max_new_tokens=None, window=window))
        for window in (None, 60, 200)
    )
    assert whole[0].context_limit == wider[0].context_limit == 100
    assert narrow[0].context_limit == 60
    assert narrow[0].dropped_rounds > whole[0].dropped_rounds
    assert narrow[2].prompt_tokens + narrow[2].output_tokens == 60


def test_a_query_that_does_not_fit_is_refused(made: Maker) -> None:
    engine = loaded(made("gpt2_chinese"), context_limit=64)
    with pytest.raises(ChatuiError, match=r"500.*64"):
        ask(engine, "春" * 500)
    assert parts(ask(engine))[2].output_ids


def test_the_window_limits_the_reply(made: Maker) -> None:
    engine = loaded(made("gpt2_chinese"), context_limit=64, eos_ids=(100_000,))
    done = parts(ask(engine, max_new_tokens=10_000))[2]
    assert done.prompt_tokens + done.output_tokens == 64
    assert done.finish_reason == "length"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_logits_end_the_reply(made: Maker, value: float) -> None:
    engine = loaded(made("llama"), eos_ids=(100_000,))
    model = engine._loaded().network.model  # type: ignore[attr-defined]
    events = engine.generate(GenerateRequest("春眠"), lambda: False)
    seen = [next(events) for _ in range(5)]
    with torch.no_grad():
        model.lm_head.weight[7, :] = value
    with pytest.raises(ChatuiError, match="NaN"):
        list(events)
    assert len(seen) == 5


def test_surrogates_nul_and_escapes_are_encoded(made: Maker) -> None:
    for family in FAMILIES:
        engine = loaded(made(family))
        assert parts(ask(engine, "春\ud800\x00\x1b[31m眠[bold]"))[2].output_ids


def test_a_system_prompt_goes_to_the_template_or_the_first_query(
    made: Maker, tmp_path: Path
) -> None:
    engine = loaded(made("qwen2"), system="你是诗人")
    prompt = parts(ask(engine))[0].prompt
    assert prompt.startswith("<|im_start|>system\n你是诗人<|im_end|>")
    assert prompt.endswith("<|im_start|>assistant\n")
    tokenizer = engine._loaded()
    assert tokenizer.codec.encode(prompt)[0] == 1
    folder = tiny_models.qwen2(tmp_path / "picky")
    picky = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(picky + tiny_models.CHAT_TEMPLATE)
    prompt = parts(ask(loaded(folder, system="你是诗人"), "春", (("a", "b"),)))[0].prompt
    assert prompt.startswith("<|im_start|>user\n你是诗人\n\na<|im_end|>")


def test_a_failing_template_is_reported(made: Maker, tmp_path: Path) -> None:
    folder = tiny_models.qwen2(tmp_path / "broken")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('only on Sundays') }}")
    with pytest.raises(ChatuiError, match="only on Sundays"):
        ask(loaded(folder))


def test_times_are_reported(made: Maker) -> None:
    done = parts(ask(loaded(made("llama"))))[2]
    assert 0 < done.first_token_seconds < done.total_seconds < 5


def test_no_model_is_loaded() -> None:
    with pytest.raises(ChatuiError, match="No model"):
        ask(Engine())


def test_inspect_shows_prompt_and_next_tokens(made: Maker) -> None:
    for family in FAMILIES:
        engine = loaded(made(family))
        request = GenerateRequest("春眠")
        seen = engine.inspect(request, 5)
        prefill, tokens, _ = parts(ask(engine, "春眠"))
        assert seen.prompt == prefill.prompt
        assert len(seen.input_ids) == len(seen.tokens) == prefill.prompt_tokens
        assert seen.context_used == prefill.prompt_tokens
        assert seen.context_limit == prefill.context_limit
        assert seen.position_ids == (tuple(range(len(seen.input_ids))),)
        assert seen.next[0].id == tokens[0].id
        assert len(seen.next) == 5
        assert engine.inspect(request, 0).next == ()
    assert spec(made("llama")).name == "llama"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_continued_reply_equals_an_uncut_one(made: Maker, family: str) -> None:
    penalties = {"presence_penalty": 0.5, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3}
    engine = loaded(made(family), eos_ids=(100_000,))
    _, tokens, whole = parts(ask(engine, **penalties))
    for cut in (1, 7, 11):
        ids = whole.output_ids[:cut]
        begun = PartialReply("".join(token.text for token in tokens[:cut]), ids)
        rest = 12 - cut
        prefill, later, done = parts(
            ask(engine, partial_reply=begun, max_new_tokens=rest, **penalties)
        )
        assert done.output_ids == whole.output_ids
        assert done.text == whole.text
        assert [token.id for token in later] == list(whole.output_ids[cut:])
        assert begun.text + "".join(token.text for token in later) == "".join(
            token.text for token in tokens
        )
        assert (done.output_tokens, prefill.input_ids[-cut:]) == (rest, ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edited_reply_is_continued(made: Maker, family: str) -> None:
    engine = loaded(made(family), eos_ids=(100_000,))
    prefill, _, done = parts(ask(engine, partial_reply=PartialReply("春眠"), max_new_tokens=5))
    assert done.text.startswith("春眠")
    assert done.output_tokens == 5
    codec = engine._loaded().codec
    read = codec.detokenizer()
    text = "".join(read.add(id) for id in prefill.input_ids) + read.flush()
    assert text.replace(" ", "").endswith("春眠")


def test_out_of_memory_keeps_the_text(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = loaded(made("llama"))
    expected = parts(ask(engine))[2]
    network = engine._loaded().network
    step, steps = network.step, iter(range(10**9))

    def until_full(token: int, cache: object) -> torch.Tensor:
        if next(steps) == 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return step(token, cache)

    monkeypatch.setattr(network, "step", until_full)
    events: list[ReplyEvent] = []
    request = GenerateRequest(
        "春眠不觉晓", sampling=SamplingSettings(greedy=True, max_new_tokens=24)
    )
    with pytest.raises(ChatuiError, match=r"Memory is full after \d+ tokens.*--context"):
        events.extend(engine.generate(request, lambda: False))
    tokens = [event for event in events if isinstance(event, Token) and event.id >= 0]
    assert tuple(token.id for token in tokens) == expected.output_ids[:8]
    text = "".join(event.text for event in events if isinstance(event, Token))
    assert text and len(text) >= len("".join(token.text for token in tokens))
    # The failed reply does not affect the next one.
    monkeypatch.setattr(network, "step", step)
    assert parts(ask(engine))[2].output_ids == expected.output_ids


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_another_token_can_be_chosen_anywhere(made: Maker, family: str) -> None:
    engine = loaded(made(family), eos_ids=(100_000,))
    _, tokens, _ = parts(ask(engine, alternatives=2))
    for place in (0, 5):
        kept = tokens[:place]
        other = tokens[place].alternatives[1].id
        text = "".join(token.text for token in kept)
        begun = PartialReply(text, tuple(token.id for token in kept), other)
        _, later, done = parts(ask(engine, partial_reply=begun, max_new_tokens=4))
        assert later[0].id == other
        assert done.output_ids[: place + 1] == (*(token.id for token in kept), other)
        assert done.text == text + "".join(token.text for token in later)
