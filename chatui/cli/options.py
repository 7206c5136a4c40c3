"""Options that several verbs share, and the values that they stand for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatui.locales import LANGUAGES, say
from chatui.messages import Adapter
from chatui.sampling import SamplingSettings

LARGEST = 2**63 - 1


def add_general(parser: argparse.ArgumentParser, *, top: bool = False) -> None:
    """What every verb takes; see :func:`_unless_top`."""
    group = parser.add_argument_group(say("cli.group.general"))
    kept = _unless_top(top)
    group.add_argument("--lang", choices=LANGUAGES, help=say("cli.option.lang"), **kept)
    group.add_argument("--debug", action="store_true", help=say("cli.option.debug"), **kept)


def add_model(parser: argparse.ArgumentParser, *, top: bool = False) -> None:
    """Which model, and how it is loaded; see :func:`_unless_top`."""
    group = parser.add_argument_group(say("cli.group.model"))

    def add(name: str, **more: Any) -> None:
        key = name.replace("-", "_")
        group.add_argument(f"--{name}", help=say(f"cli.option.{key}"), **more, **_unless_top(top))

    add("model", metavar="REF")
    add("format", metavar="NAME")
    add("lora", metavar="PATH[@SCALE]", action="append", type=adapter)
    add("server", metavar="URL")
    add("device", metavar="NAME")
    add("dtype", choices=("auto", "float32", "bfloat16", "float16"))
    add("device-map", metavar="MAP")
    add("think", action=argparse.BooleanOptionalAction)


def _unless_top(top: bool) -> dict[str, Any]:
    """A verb's option that was not typed must not undo what was typed before the verb."""
    return {} if top else {"default": argparse.SUPPRESS}


def add_conversation(parser: argparse.ArgumentParser) -> None:
    """What stands before the query."""
    group = parser.add_argument_group(say("cli.group.conversation"))
    group.add_argument("--history", metavar="FILE", help=say("cli.option.history"))
    group.add_argument("--system", metavar="TEXT", help=say("cli.option.system"))


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How the next token is chosen; each overrides the preset's own."""
    group = parser.add_argument_group(say("cli.group.sampling"))

    def add(name: str, kind: Callable[[str], Any], metavar: str) -> None:
        key = name.replace("-", "_")
        group.add_argument(f"--{name}", type=kind, metavar=metavar, help=say(f"cli.option.{key}"))

    add("seed", whole(0), "N")
    group.add_argument("--greedy", action="store_true", help=say("cli.option.greedy"))
    add("temperature", number(0.0), "T")
    add("top-k", whole(0), "K")
    add("top-p", number(0.0, 1.0, above=True), "P")
    add("min-p", number(0.0, 1.0), "P")
    add("repetition-penalty", number(0.0, above=True), "X")
    add("presence-penalty", number(), "X")
    add("frequency-penalty", number(), "X")
    add("max-new-tokens", whole(1), "N")
    group.add_argument(
        "--stop", metavar="TEXT", action="append", default=[], help=say("cli.option.stop")
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help=say("cli.option.json"))


def sampling_of(args: argparse.Namespace, preset: SamplingSettings) -> SamplingSettings:
    """The preset's sampling with what was typed in its place."""
    names = (
        "seed",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "max_new_tokens",
    )
    typed = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.greedy:
        typed["greedy"] = True
    elif typed.keys() & {"temperature", "top_p", "min_p"}:
        # Without this they would have no effect on a preset that is greedy or picks evenly.
        typed |= {"greedy": False, "uniform_top_k": False}
    return replace(preset, **typed)


def adapter(text: str) -> Adapter:
    """``PATH[@SCALE]``; a path that exists with its "@" in it is a path."""
    path, at, scale = text.rpartition("@")
    value = 1.0
    try:
        if not at or Path(text).exists():
            path = text
        else:
            value = float(scale)
    except (ValueError, OSError):
        path = text
    if not path.strip() or not math.isfinite(value):
        raise argparse.ArgumentTypeError(say("cli.value.adapter", value=text))
    return Adapter(path, value)


def whole(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """An integer of a range, as an argparse type."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(say("cli.value.whole", value=text)) from None
        if not least <= value <= most:
            raise _outside(text, f"≥ {least}", f"≤ {most}" if most < LARGEST else "")
        return value

    return convert


def number(
    least: float = -math.inf, most: float = math.inf, *, above: bool = False
) -> Callable[[str], float]:
    """A finite number of a range, as an argparse type; ``above`` leaves ``least`` itself out."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(say("cli.value.number", value=text))
        if value < least or value > most or (above and value == least):
            sign = ">" if above else "≥"
            raise _outside(text, f"{sign} {least:g}", f"≤ {most:g}" if most < math.inf else "")
        return value

    return convert


def _outside(text: str, *bounds: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(
        say("cli.value.range", value=text, range=", ".join(filter(None, bounds)))
    )
