"""``chatui dataset``: training examples and preference pairs from conversations.

The tokenizer runs in this process: there are no weights to load and no screen to keep responsive.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatui import readable
from chatui.catalog.resolving import LocatedTokenizer, find_tokenizer
from chatui.cli.conversations import conversation_ids, open_store
from chatui.cli.exit_codes import SUCCESS, UsageError, message_on_interrupt
from chatui.cli.output import write, write_line, write_stderr
from chatui.cli.progress import ProgressDisplay, skipped_records_reporter
from chatui.conversation import dialogues
from chatui.conversation.conversation_files import SkippedRecord, expand_paths
from chatui.conversation.conversation_store import parse_tags
from chatui.conversation.dialogue_sources import ALL_REPLIES, DialogueSources, ReplyFilter
from chatui.conversation.dialogues import PreferencePair
from chatui.conversation.exports import write_atomically
from chatui.conversation.rounds import Rating
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import load_settings
from chatui.text import escape_json

if TYPE_CHECKING:
    from chatui.engine.examples.example_encoder import ExampleEncoder

PAIR_RECORDS: dict[str, Callable[[PreferencePair], dict[str, Any]]] = {
    "trl": dialogues.to_trl,
    "llama-factory": dialogues.to_llama_factory,
}
"""Forms of preference pairs, by name."""

_BINARY_FORMATS = ("arrow", "safetensors")
_RATINGS: dict[str | None, Rating] = {"good": 1, "bad": -1, "+": 1, "-": -1}


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
    if args.pairs != (args.form in PAIR_RECORDS) and args.form:
        raise UsageError(say("dataset.dataset.other_form", form=args.form))
    if not args.output and not args.preview:
        raise UsageError(say("dataset.dataset.no_output"))
    settings = load_settings()
    files = expand_paths(args.files)
    if args.output:
        if Path(args.output).is_symlink():
            args.output = os.path.realpath(args.output)
        _check_target(Path(args.output), files, resumable=not args.pairs)
    with ExitStack() as stack:
        store: Store | None = None
        ids: tuple[int, ...] = ()
        if args.conversation:
            store = stack.enter_context(closing(open_store()))
            ids = conversation_ids(store, args.conversation)
        sources = DialogueSources(files, args.encoding, store, ids, choice)
        if args.pairs and args.model is None:
            _write_pairs(sources, None, args)
            return SUCCESS
        from chatui.engine.examples.example_encoder import load_encoder
        from chatui.engine.examples.example_layout import ExampleLimits

        place = find_tokenizer(args.model or settings.model, settings)
        limits = ExampleLimits(args.max_source, args.max_target, args.max_length)
        encoder = load_encoder(place, limits, args.family, args.format)
        if args.pairs:
            _write_pairs(sources, encoder, args)
        elif args.preview:
            _preview(encoder, sources, args)
        else:
            _write(encoder, sources, place, args)
    return SUCCESS


def _check_target(target: Path, files: tuple[Path, ...], *, resumable: bool) -> None:
    """Raise ChatuiError for a target that cannot be written or is one of the sources.

    Args:
        resumable: the target is renamed from a partial file, which would replace a device.
    """
    wrong = errno.EISDIR if target.is_dir() else 0 if target.parent.is_dir() else errno.ENOENT
    if wrong:
        reason = OSError(wrong, os.strerror(wrong))
        raise ChatuiError(say("conversation.file_unwritable", path=target, reason=reason))
    if resumable and target.exists() and not target.is_file():
        raise UsageError(say("dataset.dataset.no_file", path=target))
    if any(target.exists() and file.exists() and target.samefile(file) for file in files):
        raise UsageError(say("dataset.dataset.is_source", path=target))


def _preview(encoder: ExampleEncoder, sources: DialogueSources, args: argparse.Namespace) -> None:
    from chatui.cli.dataset_preview import print_preview

    for found in sources:
        if isinstance(found, SkippedRecord):
            write_stderr(found.sentence)
            continue
        for place in found.trained_replies(args.train):
            if pair := encoder.text_pair(found, place):
                print_preview(encoder, pair)
                return
    raise ChatuiError(say("dataset.nothing"))


def _write_pairs(
    sources: DialogueSources, encoder: ExampleEncoder | None, args: argparse.Namespace
) -> None:
    """Write all preference pairs to a file at once, or print the first one.

    Args:
        encoder: adds token ids; None leaves them out.

    Raises:
        ChatuiError: there is no pair, or the file cannot be written.
    """
    lines = _pair_lines(sources, PAIR_RECORDS[args.form or "trl"], encoder)
    first = next(lines, None)
    if first is None:
        raise ChatuiError(say("dataset.no_pairs_rated"))
    if args.preview:
        write(first)
        return
    target = Path(args.output)
    write_atomically(target, chain([first], lines))
    with target.open("rb") as written:
        count = sum(1 for _ in written)
    write_line(say("dataset.dataset.pairs_done", path=_with_size(target), count=count))


def _pair_lines(
    sources: DialogueSources,
    record_of: Callable[[PreferencePair], dict[str, Any]],
    encoder: ExampleEncoder | None,
) -> Iterator[str]:
    for found in sources.pairs():
        if isinstance(found, SkippedRecord):
            write_stderr(found.sentence)
            continue
        ids = encoder.preference_ids(found) if encoder else {}
        if ids is not None:
            record = json.dumps(record_of(found) | ids, ensure_ascii=False)
            yield escape_json(record) + "\n"


def _write(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    place: LocatedTokenizer,
    args: argparse.Namespace,
) -> None:
    from chatui.engine.examples.example_run import write_examples

    target = Path(args.output)
    suffix = target.suffix[1:].lower()
    file_format: Any = args.form or (suffix if suffix in _BINARY_FORMATS else "jsonl")
    display = ProgressDisplay()
    done = 0

    def report(examples: int, share: float, speed: float) -> None:
        nonlocal done
        done = examples
        words = {"done": f"{done:,}", "speed": f"{speed:,.0f}"}
        display.update(share, say("dataset.dataset.progress", **words))

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
    for name in ("skipped", "empty", "cut", "blank"):
        if count := getattr(state, name):
            write_stderr(say(f"dataset.dataset.{name}", count=count))
    words = {"examples": state.examples, "length": encoder.layout.length}
    write_line(say("dataset.dataset.done", path=_with_size(target), **words))


def _with_size(file: Path) -> str:
    return f"{file} ({readable.size(file.stat().st_size)})"


def _options(
    encoder: ExampleEncoder, place: LocatedTokenizer, args: argparse.Namespace
) -> dict[str, object]:
    """Return all that the output depends on besides the sources; another run must match it."""
    files = sorted(file for file in place.folder.iterdir() if file.is_file())
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    limits = [args.max_source, args.max_target, args.max_length]
    return {"limits": limits, "format": encoder.format.name, "family": args.family,
            "system": place.system, "tokenizer": stats}  # fmt: skip
