"""Dialogues and their targets, from a small library."""

from itertools import product
from pathlib import Path
from random import Random

import pytest

from training import forms
from training.corpus import Poem, is_held_out
from training.dialogues import Topic, Writer, frame
from training.examples import IGNORED, Batches, Encoder, weights
from training.forms import FORMS, Form
from training.library import Library

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "shiyou"
COMMON = "春江花月夜明山水云风雪天人来去归"


def poem(random: Random, form: Form) -> Poem:
    lines = tuple("".join(random.choices(COMMON, k=form.n_chars)) for _ in range(form.n_lines))
    return Poem("".join(random.choices(COMMON, k=2)), lines)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(ASSETS)


@pytest.fixture(scope="module")
def library(encoder: Encoder) -> Library:
    random = Random(1)
    poems = [poem(random, form) for form, _ in product(FORMS, range(200))]
    training = [p for p in poems if not is_held_out(p.title)]
    return Library(training, encoder.tokenizer.get_vocab())


@pytest.fixture
def writer(library: Library) -> Writer:
    return Writer(library, COMMON, Random(2))


def test_a_follow_up_keeps_what_it_does_not_change(writer: Writer) -> None:
    for _ in range(300):
        topic = Topic("poem", "春夜", writer.random.choice(FORMS))
        query, reply, after = writer.poem_again(topic)
        assert forms.is_poem(reply, after.form, after.title), (query, reply)
        assert after.title == "春夜" or after.title in query
        assert after.title == "春夜" or after.form == topic.form


def test_requests_are_answered_in_form(writer: Writer) -> None:
    for _ in range(300):
        query, reply, topic = writer.poem()
        assert forms.is_poem(reply, topic.form, topic.title), (query, reply)
        query, reply, topic = writer.continuation()
        assert topic.given in query
        assert forms.is_continuation(reply, topic.given.split("，"))
        query, reply, topic = writer.acrostic()
        assert topic.given in query
        assert forms.is_acrostic(reply, topic.given)


def test_an_acrostic_keeps_its_characters(writer: Writer) -> None:
    for _ in range(100):
        topic = Topic("acrostic", "", Form(5, 4), "春江花月")
        query, reply, after = writer.acrostic_again(topic)
        assert forms.is_acrostic(reply, after.given)
        assert after.given == "春江花月" or after.given in query


def test_no_title_or_heads_are_held_out(writer: Writer) -> None:
    for _ in range(500):
        assert not is_held_out(writer.poem()[2].title)
        title, _ = writer.new_title(FORMS[0])
        assert not is_held_out(title)


def test_small_talk_leaves_the_topic_alone(writer: Writer) -> None:
    topic = Topic("poem", "春夜", FORMS[0])
    answers = [writer.talk(topic) for _ in range(200)]
    assert all("{" not in query + answer for query, answer, _ in answers)
    assert any(after == topic for _, _, after in answers)
    assert any(forms.is_poem(answer.partition("\n")[2]) for _, answer, _ in answers)


def test_targets_are_the_replies_and_their_ends(encoder: Encoder) -> None:
    rounds = [("你好", "幸会。"), ("写诗", "《月》\n月明。")]
    ids, targets, weighed = encoder.dialogue(rounds)
    text = frame(0, "你好") + "幸会。\n" + frame(1, "写诗") + "《月》\n月明。"
    assert ids == encoder.ids(text)
    learnt = [target for target in targets if target != IGNORED]
    end = encoder.end
    assert learnt == [*encoder.ids("幸会。"), end, *encoder.ids("《月》\n月明。"), end]
    assert [weight > 0 for weight in weighed] == [target != IGNORED for target in targets]
    for i, target in enumerate(targets[:-1]):
        assert target in (IGNORED, end, ids[i + 1])


def test_what_binds_weighs_more() -> None:
    titled = "".join(
        "x" if weight > 1 else "." for weight in weights("《月》\n春江，月明。", "写月")
    )
    assert titled == "xxxx..x..xx"
    acrostic = "".join("x" if weight > 1 else "." for weight in weights("春江，月明。", "藏头春月"))
    assert acrostic == "x.xx.xx"
    repeated = "".join("x" if weight > 1 else "." for weight in weights("春江，月明。", "续写春江"))
    assert repeated == "xxxx.xx"


def test_plain_text_is_learnt_whole(encoder: Encoder) -> None:
    ids, targets, weighed = encoder.plain("春江花月夜，")
    assert weighed == [1.0] * len(ids)
    assert targets == [*ids[1:], encoder.end]


def test_batches_repeat_and_fit(encoder: Encoder, library: Library) -> None:
    one = iter(Batches(encoder, library, seed=3, tokens=2048))
    two = iter(Batches(encoder, library, seed=3, tokens=2048))
    for _ in range(5):
        (ids, targets, weighed), (same, _, _) = next(one), next(two)
        assert ids.equal(same)
        assert ids.numel() <= 2048
        assert ids.shape == targets.shape == weighed.shape
        assert (targets != IGNORED).any(1).all()
