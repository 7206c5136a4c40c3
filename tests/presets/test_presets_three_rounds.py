"""Every preset by its name: found, put together, loaded, and talked with for three rounds."""

from __future__ import annotations

import pytest
from preset_shelf import Preset
from preset_talk import three_rounds

from chatui.catalog import library, resolve
from chatui.errors import ChatuiError
from chatui.settings import Settings

PRESETS = library.load().by_name
RUNNABLE = [name for name, one in PRESETS.items() if not one.facts.lacks]


@pytest.mark.parametrize("name", RUNNABLE)
def test_three_rounds(name: str, preset: Preset) -> None:
    three_rounds(preset(name))


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in RUNNABLE])
def test_what_cannot_run_says_why(name: str) -> None:
    lacks = PRESETS[name].facts.lacks
    assert lacks
    with pytest.raises(ChatuiError) as caught:
        resolve(name, Settings())
    assert lacks.en in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
