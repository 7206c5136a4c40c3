"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import LANGUAGES, say
from chatui.messages import Adapter
from chatui.sampling import SETTINGS, SamplingSettings, Setting, override_by_user
from chatui.settings import CONTEXT
from chatui.text import one_line


def add_general(parser: argparse.ArgumentParser, *, top: bool = False) -> None:
    """Add the options of every command; see :func:`_unless_top`."""
    group = parser.add_argument_group(say("cli.group.general"))
    kept = _unless_top(top)
    group.add_argument("--lang", choices=LANGUAGES, help=say("cli.option.lang"), **kept)
    group.add_argument("--debug", action="store_true", help=say("cli.option.debug"), **kept)


def add_model(
    parser: argparse.ArgumentParser,
    *,
    top: bool = False,
    only: Collection[str] = (),
    several: bool = False,
) -> None:
    """Add the options that choose and load a model; see :func:`_unless_top`.

    Args:
        only: names of the options to add; empty adds all.
        several: collect model references and adapters in ``args.models``, in their order.
    """
    group = parser.add_argument_group(say("cli.group.model"))

    def add(name: str, **more: Any) -> None:
        if only and name not in only:
            return
        key = "other_model" if several and name == "model" else name.replace("-", "_")
        group.add_argument(f"--{name}", help=say(f"cli.option.{key}"), **more, **_unless_top(top))

    in_order = {"action": "append", "dest": "models"} if several else {}
    add("model", metavar="REF", **in_order)
    add("format", metavar="NAME")
    add("lora", metavar="PATH[@SCALE]", type=adapter, **({"action": "append"} | in_order))
    add("server", metavar="URL")
    add("device", metavar="NAME")
    add("dtype", choices=("auto", "float32", "bfloat16", "float16"))
    add("weights", choices=("auto", "plain", "int8", "int4"))
    add("device-map", metavar="MAP")
    add("context", metavar="N", type=context)
    add("think", action=argparse.BooleanOptionalAction)


def _unless_top(top: bool) -> dict[str, Any]:
    """Without the option after the command, keep its value from before the command."""
    return {} if top else {"default": argparse.SUPPRESS}


def add_record(parser: argparse.ArgumentParser, *, top: bool = False) -> None:
    """Add ``--record``; see :func:`_unless_top`."""
    parser.add_argument(
        "--record", metavar="FILE", help=say("cli.option.record"), **_unless_top(top)
    )


def add_conversation(parser: argparse.ArgumentParser) -> None:
    """Add the options for the conversation before the query."""
    group = parser.add_argument_group(say("cli.group.conversation"))
    group.add_argument("--history", metavar="FILE", help=say("cli.option.history"))
    group.add_argument("--system", metavar="TEXT", help=say("cli.option.system"))
    group.add_argument("--encoding", metavar="NAME", type=encoding, help=say("cli.option.encoding"))


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add the sampling options, which override the preset."""
    group = parser.add_argument_group(say("cli.group.sampling"))

    for name, setting in SETTINGS.items():
        if setting.metavar is None:
            continue
        more: dict[str, Any] = {"type": number_in(setting), "metavar": setting.metavar}
        if setting.kind is bool:
            more = {"action": "store_true", "default": None}
        group.add_argument(f"--{name.replace('_', '-')}", help=say(f"cli.option.{name}"), **more)
    group.add_argument(
        "--stop", metavar="TEXT", action="append", default=[], help=say("cli.option.stop")
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help=say("cli.option.json"))


def sampling_of(args: argparse.Namespace, preset: SamplingSettings) -> SamplingSettings:
    """Return the preset's sampling, overridden by the options."""
    typed = {name: value for name in SETTINGS if (value := getattr(args, name, None)) is not None}
    return override_by_user(preset, typed)


def adapter(text: str) -> Adapter:
    """Argparse type of ``PATH[@SCALE]``."""
    # Imported late, so that a start without adapters is faster.
    from chatui.catalog.adapters import named_adapter

    try:
        return named_adapter(text)
    except ChatuiError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def encoding(text: str) -> str:
    """Argparse type of the name of a text encoding."""
    try:
        "a".encode(text)
    except (LookupError, ValueError):
        shown = one_line(text, 60)
        raise argparse.ArgumentTypeError(say("cli.value.encoding", value=shown)) from None
    return text


def context(text: str) -> int | str:
    """Argparse type of a context window in tokens, or "auto"."""
    return text if text == "auto" else number_in(CONTEXT)(text)


def number_in(setting: Setting) -> Callable[[str], Any]:
    """Return the argparse type of a number in the setting's range."""

    def convert(text: str) -> Any:
        try:
            value = setting.kind(text)
        except ValueError:
            key = "cli.value.whole" if setting.kind is int else "cli.value.number"
            raise argparse.ArgumentTypeError(say(key, value=one_line(text, 60))) from None
        if not setting.allows(value) or (setting.exclusive_minimum and value == setting.minimum):
            shown = one_line(text, 60)
            raise argparse.ArgumentTypeError(
                say("cli.value.range", value=shown, range=setting.range)
            )
        return value

    return convert


def whole_number(least: int, most: int = 2**63 - 1) -> Callable[[str], Any]:
    """Return the argparse type of a whole number in a range."""
    return number_in(Setting(int, least, most))
