"""Continued replies: bidirectional attention in the prompt, causal attention in the reply."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import ask, loaded, parts

from chatui.messages import GenerateRequest, PartialReply


def test_a_continued_reply_equals_an_uninterrupted_one(folder: Path) -> None:
    engine = loaded(folder, eos_ids=(10**6,))
    _, tokens, whole = parts(ask(engine, "晚上睡不着应该怎么办"))
    assert len(whole.output_ids) == 12
    for cut in (1, 7):
        begun = PartialReply("".join(token.text for token in tokens[:cut]), whole.output_ids[:cut])
        _, _, done = parts(
            ask(engine, "晚上睡不着应该怎么办", partial_reply=begun, max_new_tokens=12 - cut)
        )
        assert done.output_ids == whole.output_ids
        assert done.text == whole.text


def test_an_edited_reply_is_encoded_without_special_tokens(folder: Path) -> None:
    engine = loaded(folder, eos_ids=(10**6,))
    alone, _, _ = parts(ask(engine, "晚上"))
    begun, _, done = parts(
        ask(engine, "晚上", partial_reply=PartialReply("你好"), max_new_tokens=3)
    )
    ids = begun.input_ids[len(alone.input_ids) :]
    assert begun.input_ids[: len(alone.input_ids)] == alone.input_ids
    assert ids and not {*ids} & {*alone.input_ids[-2:]}, "neither [gMASK] nor <sop> again"
    assert done.text.startswith("你好")


def test_scoring_a_reply_gives_its_original_probabilities(folder: Path) -> None:
    engine = loaded(folder, eos_ids=(10**6,))
    _, tokens, done = parts(ask(engine, "晚上睡不着应该怎么办"))
    request = GenerateRequest(
        "晚上睡不着应该怎么办", partial_reply=PartialReply("x", done.output_ids)
    )
    found = engine.score(request, lambda: False).logprobs
    assert found == pytest.approx([token.logprob for token in tokens], abs=1e-4)
