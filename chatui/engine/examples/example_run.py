"""Write the examples of many dialogues in constant memory, resumably.

The state of a run is saved beside its file. An interrupted run is resumed if sources, tokenizer and
options are the same; the complete file then equals that of an uninterrupted run.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from chatui.conversation.conversation_files import SkippedRecord
from chatui.conversation.dialogue_sources import DialogueSources
from chatui.conversation.dialogues import Train
from chatui.engine.examples.example_encoder import ExampleEncoder, IdPair, TextPair
from chatui.engine.examples.example_files import (
    CannotResume,
    FileFormat,
    PartialFile,
    open_partial,
    partial_path,
)
from chatui.engine.examples.training_example import IGNORED
from chatui.errors import ChatuiError
from chatui.locales import say

_PAIRS_PER_BATCH = 256
_CHARACTERS_PER_BATCH = 1 << 22
_SAVE_SECONDS = 1.0


@dataclass(frozen=True)
class RunState:
    """The saved state of a run.

    Attributes:
        key: hash of its sources, tokenizer and options.
        records: number of records read, including skipped ones.
        rounds: number of replies read of the next record.
        examples: number of examples written.
        place: position in the file after the last example.
        skipped: number of records that are not a dialogue.
        empty: number of rounds left out because their query or reply is empty.
        cut: number of examples that were truncated.
        blank: number of truncated examples without anything to learn.
    """

    key: str
    records: int = 0
    rounds: int = 0
    examples: int = 0
    place: int = 0
    skipped: int = 0
    empty: int = 0
    cut: int = 0
    blank: int = 0


@dataclass(frozen=True)
class RunProgress:
    """The progress of a run, and its speed since it was started or resumed."""

    state: RunState
    done_bytes: int
    total_bytes: int
    examples_per_second: float


def write_examples(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    target: Path,
    *,
    file_format: FileFormat,
    train: Train | None,
    options: Mapping[str, object],
    report: Callable[[RunProgress], None],
    report_skipped: Callable[[str], None],
) -> RunState:
    """Write the examples of ``sources`` to ``target``, resuming an interrupted run.

    Args:
        train: which replies to learn; None for each record's default.
        options: all other settings that the examples depend on, as JSON values.
        report: called with the progress after each batch.
        report_skipped: called with a sentence for each record that is left out.

    Raises:
        ChatuiError: there is nothing to learn, the file cannot be written, or another process is
            writing it.
    """
    identity = [sources.fingerprint(), train, file_format, encoder.layout.columns, dict(options)]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    state_file = _state_path(target)
    try:
        with ExitStack() as stack:
            lock = partial_path(target).with_name(partial_path(target).name + ".lock")
            stack.enter_context(FileLock(str(lock), timeout=0))
            stack.callback(lock.unlink, missing_ok=True)
            open_at = partial(
                open_partial, file_format, target, encoder.layout.columns, encoder.layout.length
            )
            try:
                state = _read_state(state_file, key)
                file = open_at(state.place)
            except CannotResume:
                state = RunState(key)
                file = open_at(state.place)
            stack.callback(file.close)
            state = _run(encoder, sources, file, state_file, state, train, report, report_skipped)
            if not state.examples:
                raise ChatuiError(say("dataset.nothing"))
            file.finish(target)
            state_file.unlink(missing_ok=True)
            return state
    except Timeout as error:
        raise ChatuiError(say("dataset.busy", path=target)) from error
    except OSError as error:
        raise ChatuiError(say("conversation.file_unwritable", path=target, reason=error)) from error


def _run(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    file: PartialFile,
    state_file: Path,
    state: RunState,
    train: Train | None,
    report: Callable[[RunProgress], None],
    report_skipped: Callable[[str], None],
) -> RunState:
    total = sources.total_bytes
    began = saved = time.monotonic()
    before = state.examples
    batches = _batches(encoder, sources, state, train, report_skipped)
    try:
        for batch, ids in _encode_ahead(encoder, batches):
            state = _write_batch(encoder, file, state, batch, ids)
            now = time.monotonic()
            speed = (state.examples - before) / max(now - began, 1e-6)
            if batch.pairs:
                report(RunProgress(state, sources.done_bytes, total, speed))
            if now - saved > _SAVE_SECONDS:
                saved = now
                _save(state_file, state, file)
    except BaseException:
        # If the disk is full, the state saved before is kept.
        with suppress(OSError):
            _save(state_file, state, file)
        raise
    return state


@dataclass
class _Batch:
    """Some hundred pairs, and the counts of :class:`RunState` after them."""

    records: int
    rounds: int
    skipped: int
    empty: int
    pairs: list[TextPair] = field(default_factory=list)
    characters: int = 0


def _batches(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    state: RunState,
    train: Train | None,
    report_skipped: Callable[[str], None],
) -> Iterator[_Batch]:
    """Yield the pairs to encode after ``state``, in batches."""
    batch = _Batch(state.records, state.rounds, state.skipped, state.empty)
    for read, found in enumerate(sources, 1):
        if read <= state.records:
            continue
        if isinstance(found, SkippedRecord):
            batch.skipped += 1
            report_skipped(found.sentence)
        else:
            done = state.rounds if read == state.records + 1 else 0
            for rounds, index in enumerate(found.trained_replies(train)[done:], done + 1):
                pair = encoder.text_pair(found, index)
                if pair is None:
                    batch.empty += 1
                else:
                    batch.pairs.append(pair)
                    batch.characters += len(pair.prompt) + len(pair.reply)
                if len(batch.pairs) >= _PAIRS_PER_BATCH or batch.characters > _CHARACTERS_PER_BATCH:
                    batch.rounds = rounds
                    yield batch
                    batch = _Batch(read - 1, rounds, batch.skipped, batch.empty)
        batch.records, batch.rounds = read, 0
    yield batch


def _encode_ahead(
    encoder: ExampleEncoder, batches: Iterable[_Batch]
) -> Iterator[tuple[_Batch, list[IdPair]]]:
    """Yield each batch with its token ids, while a thread encodes the next one without the GIL."""
    with ThreadPoolExecutor(1) as pool:
        before: tuple[_Batch, Future[list[IdPair]]] | None = None
        for batch in batches:
            encoding = pool.submit(encoder.encode_pairs, batch.pairs)
            if before is not None:
                yield before[0], before[1].result()
            before = batch, encoding
        if before is not None:
            yield before[0], before[1].result()


def _write_batch(
    encoder: ExampleEncoder, file: PartialFile, state: RunState, batch: _Batch, ids: list[IdPair]
) -> RunState:
    """Append the examples of a batch to ``file``; return the new state."""
    examples = [encoder.make_example(pair) for pair in ids]
    position = file.append(examples) if examples else state.place
    blank = sum(each.labels.count(IGNORED) == len(each.labels) for each in examples if each.is_cut)
    return replace(
        state,
        records=batch.records,
        rounds=batch.rounds,
        examples=state.examples + len(examples),
        place=position,
        skipped=batch.skipped,
        empty=batch.empty,
        cut=state.cut + sum(each.is_cut for each in examples),
        blank=state.blank + blank,
    )


def _state_path(target: Path) -> Path:
    return partial_path(target).with_name(partial_path(target).name + ".json")


def _read_state(file: Path, key: str) -> RunState:
    """Return the saved state of the same run, or the initial state."""
    try:
        state = msgspec.json.decode(file.read_bytes(), type=RunState)
    except (OSError, msgspec.MsgspecError):
        return RunState(key)
    return state if state.key == key else RunState(key)


def _save(state_file: Path, state: RunState, file: PartialFile) -> None:
    file.flush()
    new = state_file.with_name(state_file.name + ".new")
    new.write_bytes(msgspec.json.encode(state))
    new.replace(state_file)
