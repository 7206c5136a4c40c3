"""Turn the arguments of a command into a model spec and a request."""

from __future__ import annotations

import argparse
import codecs
import json
import locale
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from chatui.cli.exit_codes import UsageError
from chatui.cli.output import write_stderr
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, ModelSpec
from chatui.prompting.parts import prompt_history
from chatui.sampling import SETTINGS, SamplingSettings, override_by_user
from chatui.settings import Settings, load_settings

_PEEKED_CHARACTERS = 4096

_SUPERSETS = dict.fromkeys(("gbk", "gb2312", "cp936", "936", "ms936"), "gb18030")
"""Encodings that are read as a superset, because texts often exceed them."""


def settings_of(args: argparse.Namespace) -> Settings:
    """Load the settings, with ``--server`` before their servers."""
    settings = load_settings()
    if args.server:
        from chatui.backends import servers

        settings = servers.with_server(settings, args.server)
    return settings


def spec_of(args: argparse.Namespace, settings: Settings) -> ModelSpec:
    """Resolve the model that the arguments name; raises ChatuiError if it does not exist."""
    spec = _resolved(args, settings)
    return spec if args.think is None else replace(spec, think=args.think)


def _resolved(args: argparse.Namespace, settings: Settings) -> ModelSpec:
    from chatui import catalog

    reference = args.model or ("" if args.server else settings.model)
    served = None
    if args.server is not None or ":" in reference:
        from chatui.backends import servers

        served = servers.resolve(reference, settings, server=args.server, format=args.format)
    if served is not None:
        if args.lora:
            raise ChatuiError(say("backends.adapters_on_server"))
        return replace(served, context=args.context if args.context != "auto" else None)
    return catalog.resolve(
        reference,
        settings,
        format=args.format,
        adapters=tuple(args.lora or ()),
        dtype=args.dtype,
        weights=args.weights,
        device=args.device,
        device_map=args.device_map,
        context=args.context,
    )


def request_of(args: argparse.Namespace, query: str, spec: ModelSpec) -> GenerateRequest:
    """Build the request of a query."""
    return GenerateRequest(
        query=query,
        history=read_history(args.history, args.encoding),
        system=args.system,
        think=spec.think,
        sampling=sampling_of(args, spec.sampling),
        stop_strings=tuple(args.stop),
    )


def sampling_of(args: argparse.Namespace, preset: SamplingSettings) -> SamplingSettings:
    """Return the preset's sampling, overridden by the options."""
    typed = {name: value for name in SETTINGS if (value := getattr(args, name, None)) is not None}
    return override_by_user(preset, typed)


def read_query(argument: str | None, encoding: str | None = None) -> str:
    """Return the query: the argument, or standard input if the argument is None or "-".

    Args:
        encoding: encoding of standard input, and of an argument that the locale cannot decode.

    Raises:
        UsageError: the query is blank.
        ChatuiError: standard input is closed or not text in the encoding.
    """
    if argument in (None, "-"):
        query = _read_standard_input(encoding)
    elif encoding and not argument.isascii():
        query = _decoded(os.fsencode(argument), say("cli.encoding.argument"), encoding)
    else:
        query = argument
    if not query.strip():
        raise UsageError(say("cli.empty_query"))
    return query


def _read_standard_input(encoding: str | None) -> str:
    if sys.stdin is None:
        raise ChatuiError(say("cli.no_input"))
    if sys.stdin.isatty():
        write_stderr(say("cli.type_query"))
    data = sys.stdin.buffer.read()
    return _decoded(data, say("cli.encoding.input"), encoding).rstrip("\r\n")


def _decoded(data: bytes, name: str, encoding: str | None) -> str:
    """Decode ``data`` by the encoding or its byte order mark, else as UTF-8 or in the locale's.

    Args:
        name: name of the data in error sentences.

    Raises:
        ChatuiError: the data is not text in the encoding, or no encoding is given and none fits.
    """
    marked = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None
    wanted = encoding or marked
    tried = [wanted] if wanted else ["utf-8-sig", locale.getpreferredencoding(False)]
    for candidate in tried:
        with suppress(UnicodeError):
            return data.decode(_SUPERSETS.get(candidate.lower(), candidate))
    if wanted:
        raise ChatuiError(say("cli.encoding.wrong", name=name, encoding=wanted))
    raise ChatuiError(say("cli.encoding.unknown", name=name))


def read_history(file: str | None, encoding: str | None = None) -> tuple[tuple[str, str], ...]:
    """Read earlier rounds from a JSON list of [query, reply] or a transcript; None has none.

    Raises:
        ChatuiError: the file cannot be read or has another content.
    """
    if file is None:
        return ()
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise ChatuiError(say("cli.history.unreadable", file=file, reason=error)) from error
    text = _decoded(data, say("cli.encoding.history", file=file), encoding)
    from chatui.conversation.transcript_events import FORMAT

    if f'"{FORMAT}"' in text[:_PEEKED_CHARACTERS]:
        from chatui.conversation.transcript_reader import read_transcript

        path = read_transcript(text.encode("utf-8", "surrogatepass"), name=file).path()
        return prompt_history((each.query, each.reply) for each in path)
    try:
        rounds = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise ChatuiError(say("cli.history.no_json", file=file, reason=error)) from error
    if not isinstance(rounds, list):
        raise ChatuiError(say("cli.history.no_list", file=file))
    for number, pair in enumerate(rounds, 1):
        if not (
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str) for x in pair)
        ):
            raise ChatuiError(say("cli.history.no_pair", file=file, number=number))
    return tuple((query, reply) for query, reply in rounds)
