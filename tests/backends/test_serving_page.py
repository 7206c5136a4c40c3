"""The names and options in docs/serving.md exist."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2.sandbox
import pytest

from chatui.catalog import library
from chatui.prompting import formats
from chatui.prompting.format import Exchange

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("history", [(), (("a b\nc", "d e"), ("早", "早！"))])
def test_the_template_gives_luotuos_prompt_after_the_bos_token(
    history: tuple[Exchange, ...],
) -> None:
    found = re.search(r"```jinja\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    # As transformers renders chat templates.
    template = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True
    ).from_string(found[1])
    messages = [
        {"role": role, "content": text}
        for round_ in history
        for role, text in zip(("user", "assistant"), round_, strict=True)
    ]
    messages.append({"role": "user", "content": "写诗"})
    rendered = template.render(messages=messages, bos_token="<s>", add_generation_prompt=True)
    assert rendered == "<s>" + formats.get("luotuo").render(history, "写诗", None)


def test_every_format_and_preset_on_the_page_exists() -> None:
    named = set(re.findall(r"--format ([a-z][\w:.-]*)", PAGE))
    assert named and named <= set(formats.names())
    for name in re.findall(r"chatui --model ([\w-]+)`", PAGE):
        assert library.load().find(name) is not None
