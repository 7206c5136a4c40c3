"""The checkers of form and layout."""

import pytest

from training import forms
from training.forms import FORMS, Form

QUATRAIN = ("床前明月光", "疑是地上霜", "举头望明月", "低头思故乡")
REPLY = "《静夜思》\n床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"


def test_names_of_the_forms() -> None:
    assert [form.name for form in FORMS] == ["五言绝句", "七言绝句", "五言律诗", "七言律诗"]
    assert [form.short_name for form in FORMS] == ["五绝", "七绝", "五律", "七律"]


def test_layout_and_back() -> None:
    title, body = forms.split_title(REPLY)
    assert title == "静夜思"
    assert body == forms.couplets(QUATRAIN)
    assert forms.verse_lines(body) == list(QUATRAIN)


def test_an_odd_last_line_stands_alone() -> None:
    assert forms.couplets(QUATRAIN[:3]) == "床前明月光，疑是地上霜。\n举头望明月。"
    assert forms.verse_lines(forms.couplets(QUATRAIN[:3])) == list(QUATRAIN[:3])


def test_a_poem_of_the_form_and_title() -> None:
    assert forms.is_poem(REPLY)
    assert forms.is_poem(REPLY, Form(5, 4), "静夜思")
    assert not forms.is_poem(REPLY, Form(7, 4))
    assert not forms.is_poem(REPLY, Form(5, 4), "秋夜")


@pytest.mark.parametrize(
    "broken",
    [
        REPLY.removeprefix("《静夜思》\n"),
        REPLY.replace("。\n", "，\n"),
        REPLY.replace("，", "。"),
        REPLY.replace("明月光", "明月"),
        REPLY.rsplit("\n", 1)[0],
        REPLY + "\n",
        REPLY.removesuffix("。"),
        REPLY.replace("》\n", "》"),
        REPLY.replace("地", "a"),
        "",
    ],
)
def test_a_broken_poem(broken: str) -> None:
    assert not forms.is_poem(broken)


def test_a_continuation_opens_with_what_was_given() -> None:
    body = forms.couplets(QUATRAIN)
    assert forms.is_continuation(body, QUATRAIN[:1])
    assert forms.is_continuation(body, QUATRAIN[:2])
    assert not forms.is_continuation(body, ("白日依山尽",))
    assert not forms.is_continuation(REPLY, QUATRAIN[:1])


def test_an_acrostic_has_every_character_in_place() -> None:
    body = forms.couplets(QUATRAIN)
    assert forms.is_acrostic(body, "床疑举低")
    assert not forms.is_acrostic(body, "床疑低举")
    assert not forms.is_acrostic(body, "床疑举")
    assert not forms.is_acrostic(body.replace("地上", ""), "床疑举低")
