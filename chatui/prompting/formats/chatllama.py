"""Chinese-ChatLLaMA, which became Linly: the same prompt."""

from __future__ import annotations

from dataclasses import replace

from chatui.prompting.formats import linly

FORMAT = replace(linly.FORMAT, name="chatllama")
