"""``chatui dataset``: training examples and preference pairs from conversations.

The tokenizer runs in this process: there are no weights to load and no screen to keep responsive.
"""

from __future__ import annotations

import argparse
import errno
import os
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from chatui import readable
from chatui.catalog.resolving import LocatedTokenizer, find_tokenizer
from chatui.cli.conversations import conversation_ids, open_store
from chatui.cli.exit_codes import SUCCESS, UsageError, message_on_interrupt
from chatui.cli.output import write_line, write_stderr
from chatui.cli.preference_pairs import RECORDS, write_pairs
from chatui.cli.progress import ProgressDisplay, skipped_records_reporter
from chatui.conversation.conversation_files import SkippedRecord, expand_paths
from chatui.conversation.conversation_store import parse_tags
from chatui.conversation.dialogue_sources import ALL_REPLIES, DialogueSources, ReplyFilter
from chatui.conversation.rounds import Rating
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import load_settings

if TYPE_CHECKING:
    from chatui.engine.examples.example_encoder import ExampleEncoder, TextPair
    from chatui.engine.examples.example_files import FileFormat
    from chatui.engine.examples.example_run import RunProgress, RunState

_RATINGS: dict[str | None, Rating] = {"good": 1, "bad": -1, "+": 1, "-": -1}
_FORMS: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".arrow": "arrow",
    ".safetensors": "safetensors",
}


def run(args: argparse.Namespace) -> int:
    choice = ReplyFilter(
        _RATINGS.get(args.rated),
        parse_tags(" ".join(args.tag)),
        args.model_of,
        args.since,
        args.until,
    )
    if not args.files and not args.conversation:
        if choice == ALL_REPLIES and not args.pairs:
            raise UsageError(say("dataset.dataset.no_source"))
        # The filters apply to saved conversations only, so they imply them.
        args.conversation = [None]
    if args.pairs != (args.form in RECORDS) and args.form:
        raise UsageError(say("dataset.dataset.other_form", form=args.form))
    if not args.output and not args.preview:
        raise UsageError(say("dataset.dataset.no_output"))
    settings = load_settings()
    files = expand_paths(args.files)
    if args.output:
        _check_target(Path(args.output), files)
    with ExitStack() as stack:
        store: Store | None = None
        ids: tuple[int, ...] = ()
        if args.conversation:
            store = stack.enter_context(closing(open_store()))
            ids = conversation_ids(store, args.conversation)
        sources = DialogueSources(files, args.encoding, store, ids, choice)
        if args.pairs and args.model is None:
            return _write_pairs(sources, None, args)
        place = find_tokenizer(args.model or settings.model, settings)
        encoder = _encoder(args, place)
        if args.pairs:
            return _write_pairs(sources, encoder, args)
        if args.preview:
            return _preview(encoder, sources, args)
        return _write(encoder, sources, place, args)


def _check_target(target: Path, files: tuple[Path, ...]) -> None:
    """Raise ChatuiError for a target that cannot be written or is one of the sources."""
    wrong = errno.EISDIR if target.is_dir() else 0 if target.parent.is_dir() else errno.ENOENT
    if wrong:
        reason = OSError(wrong, os.strerror(wrong))
        raise ChatuiError(say("conversation.file_unwritable", path=target, reason=reason))
    if any(target.exists() and file.exists() and target.samefile(file) for file in files):
        raise UsageError(say("dataset.dataset.is_source", path=target))


def _encoder(args: argparse.Namespace, place: LocatedTokenizer) -> ExampleEncoder:
    from chatui.engine.examples.example_layout import ExampleLimits
    from chatui.engine.examples.load_encoder import load_encoder

    limits = ExampleLimits(args.max_source, args.max_target, args.max_length)
    return load_encoder(place, limits, args.family, args.format)


def _preview(encoder: ExampleEncoder, sources: DialogueSources, args: argparse.Namespace) -> int:
    from chatui.cli.labelled_tokens import print_preview
    from chatui.engine.examples.example_preview import make_preview

    for found in sources:
        if isinstance(found, SkippedRecord):
            write_stderr(found.sentence)
            continue
        pairs = (encoder.text_pair(found, at) for at in found.trained_replies(args.train))
        pair: TextPair | None = next(filter(None, pairs), None)
        if pair is not None:
            print_preview(make_preview(encoder, pair))
            return SUCCESS
    raise ChatuiError(say("dataset.nothing"))


def _write_pairs(
    sources: DialogueSources, encoder: ExampleEncoder | None, args: argparse.Namespace
) -> int:
    target = None if args.preview else Path(args.output)
    count = write_pairs(sources, target, args.form or "trl", encoder)
    if target is not None:
        size = readable.size(target.stat().st_size)
        words = say("dataset.dataset.pairs_done", path=f"{target} ({size})", count=count)
        write_line(words)
    return SUCCESS


def _write(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    place: LocatedTokenizer,
    args: argparse.Namespace,
) -> int:
    from chatui.engine.examples.example_run import write_examples

    target = Path(args.output)
    file_format: FileFormat = args.form or _FORMS.get(target.suffix.lower(), "jsonl")
    display = ProgressDisplay()
    done = 0

    def report(progress: RunProgress) -> None:
        nonlocal done
        done = progress.state.examples
        share = progress.done_bytes / progress.total_bytes if progress.total_bytes else 0.0
        speed = f"{progress.examples_per_second:,.0f}"
        display.update(share, say("dataset.dataset.progress", done=f"{done:,}", speed=speed))

    with message_on_interrupt(lambda: say("dataset.dataset.stopped", done=done)):
        state = write_examples(
            encoder,
            sources,
            target,
            file_format=file_format,
            train=args.train,
            options=_options(encoder, place, args),
            report=report,
            report_skipped=skipped_records_reporter(),
        )
    _report_left_out(state)
    size = readable.size(target.stat().st_size)
    words = {"examples": state.examples, "length": encoder.layout.length}
    write_line(say("dataset.dataset.done", path=f"{target} ({size})", **words))
    return SUCCESS


def _options(
    encoder: ExampleEncoder, place: LocatedTokenizer, args: argparse.Namespace
) -> dict[str, object]:
    """Return all that the output depends on besides the sources; another run must match it."""
    files = sorted(file for file in place.folder.iterdir() if file.is_file())
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    limits = [args.max_source, args.max_target, args.max_length]
    return {"limits": limits, "format": encoder.format.name, "family": args.family,
            "system": place.system, "tokenizer": stats}  # fmt: skip


def _report_left_out(state: RunState) -> None:
    for name in ("skipped", "empty", "cut", "blank"):
        if count := asdict(state)[name]:
            write_stderr(say(f"dataset.dataset.{name}", count=count))
