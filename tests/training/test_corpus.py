"""From records of the corpus to poems, and what is held out."""

from training.corpus import Poem, clean_title, is_held_out, parse, split
from training.forms import Form

LINES = ["秦川雄帝宅，函谷壮皇居。", "绮殿千寻起，离宫百雉余。"]


def test_a_regular_poem_is_read() -> None:
    poem = parse({"title": "帝京篇十首 一", "paragraphs": LINES})
    assert poem == Poem("帝京篇", ("秦川雄帝宅", "函谷壮皇居", "绮殿千寻起", "离宫百雉余"))
    assert poem.form == Form(5, 4)


def test_any_verse_mark_will_do_and_none_is_kept() -> None:
    lines = [LINES[0].replace("。", "？"), LINES[1].replace("，", "！")]
    assert parse({"title": "帝京篇", "paragraphs": lines}) == parse(
        {"title": "帝京篇", "paragraphs": LINES}
    )


def test_what_is_not_regular_is_left() -> None:
    assert parse({"title": "句", "paragraphs": LINES[:1]}) is None
    assert parse({"title": "缺", "paragraphs": [LINES[0], "绮殿□寻起，离宫百雉余。"]}) is None
    assert (
        parse({"title": "注", "paragraphs": [LINES[0], "绮殿千寻起（一作高），离宫百雉余。"]})
        is None
    )


def test_titles_lose_their_numbers() -> None:
    assert clean_title("秋兴八首 其一") == "秋兴"
    assert clean_title("杂诗（一）") == "杂诗"
    assert clean_title("春望") == "春望"
    assert clean_title("二首") == "二首"


def test_nothing_held_out_is_in_training() -> None:
    names = [chr(0x4E00 + i) * 2 for i in range(1000)]
    lines = [chr(0x6000 + i) * 5 for i in range(1000)]
    poems = [
        Poem(name, (line, "一" * 5, "二" * 5, "三" * 5))
        for name, line in zip(names, lines, strict=True)
    ]
    first = next(line for line in lines if is_held_out(line))
    free = next(line for line in lines if not is_held_out(line))
    quoting = Poem("", (free, first, "二" * 5, "三" * 5))
    training, held_out = split([*poems, quoting])
    assert quoting not in training
    assert 20 <= len(held_out) <= 80
    assert not any(is_held_out(poem.title) or is_held_out(poem.lines[0]) for poem in training)
    assert set(training).isdisjoint(held_out)
