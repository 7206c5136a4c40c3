"""Write the examples of many dialogues in constant memory, resumably.

The state of a run is saved beside its file. An interrupted run is resumed if sources, tokenizer and
options are the same; the complete file then equals that of an uninterrupted run.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from chatui.conversation.conversation_files import SkippedRecord
from chatui.conversation.dialogue_sources import DialogueSources
from chatui.conversation.dialogues import Train
from chatui.engine.examples.example_encoder import ExampleEncoder, IdPair, TextPair
from chatui.engine.examples.example_files import FileFormat, PartialFile, partial_path
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
        skipped: number of records that are not a dialogue.
        empty: number of rounds left out because their query or reply is empty.
        examples: number of examples written.
        size: size of the file's parts after the last example, in bytes.
        cut: number of examples that were truncated.
        blank: number of truncated examples without anything to learn.
    """

    key: str
    records: int = 0
    rounds: int = 0
    skipped: int = 0
    empty: int = 0
    examples: int = 0
    size: int = 0
    cut: int = 0
    blank: int = 0


def write_examples(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    target: Path,
    *,
    file_format: FileFormat,
    train: Train | None,
    options: Mapping[str, object],
    report: Callable[[int, float, float], None],
    report_skipped: Callable[[str], None],
) -> RunState:
    """Write the examples of ``sources`` to ``target``, resuming an interrupted run.

    Args:
        train: which replies to learn; None for each record's default.
        options: all other settings that the examples depend on, as JSON values.
        report: called after each batch with the number of examples, the share of the sources that
            was read, and the examples per second since this run was started or resumed.
        report_skipped: called with a sentence for each record that is left out.

    Raises:
        ChatuiError: there is nothing to learn, the file cannot be written, or another process is
            writing it.
    """
    layout = encoder.layout
    identity = [sources.fingerprint(), train, file_format, layout.columns, dict(options)]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    state_file, lock = partial_path(target, ".json"), partial_path(target, ".lock")
    try:
        with ExitStack() as stack:
            stack.enter_context(FileLock(str(lock), timeout=0))
            stack.callback(lock.unlink, missing_ok=True)
            state = _read_state(state_file, key)
            file = PartialFile(file_format, target, layout.columns, layout.length, state.size)
            if file.size < state.size:
                state = RunState(key)
            stack.callback(file.close)
            began = saved = time.monotonic()
            before, total = state.examples, sources.total_bytes
            try:
                for after in _append_all(encoder, sources, file, state, train, report_skipped):
                    state, now = after, time.monotonic()
                    if state.examples:
                        share = sources.done_bytes / total if total else 0.0
                        speed = (state.examples - before) / max(now - began, 1e-6)
                        report(state.examples, share, speed)
                    if now - saved > _SAVE_SECONDS:
                        saved = now
                        _save(state_file, state, file)
            except BaseException:
                # If the disk is full, the state saved before is kept.
                with suppress(OSError):
                    _save(state_file, state, file)
                raise
            if not state.examples:
                raise ChatuiError(say("dataset.nothing"))
            file.finish()
            state_file.unlink(missing_ok=True)
            return state
    except Timeout as error:
        raise ChatuiError(say("dataset.busy", path=target)) from error
    except OSError as error:
        raise ChatuiError(say("conversation.file_unwritable", path=target, reason=error)) from error


def _append_all(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    file: PartialFile,
    state: RunState,
    train: Train | None,
    report_skipped: Callable[[str], None],
) -> Iterator[RunState]:
    """Append the examples after ``state``; yield the state after each batch."""
    batches = _batches(encoder, sources, state, train, report_skipped)
    with ThreadPoolExecutor(1) as pool:
        # A thread encodes the next batch without the GIL, while this one is written.
        encoded = ((read, pool.submit(encoder.encode_pairs, pairs)) for read, pairs in batches)
        ahead = next(encoded, None)
        while ahead is not None:
            (read, ids), ahead = ahead, next(encoded, None)
            state = _append_batch(encoder, file, state, read, ids.result())
            yield state


def _append_batch(
    encoder: ExampleEncoder, file: PartialFile, state: RunState, read: RunState, ids: list[IdPair]
) -> RunState:
    """Append the examples of a batch to ``file``; return the state after it.

    Args:
        state: the state before the batch.
        read: the counts of the records that were read for the batch.
    """
    examples = [encoder.layout.arrange(*pair) for pair in ids]
    cut = [each for each in examples if each.is_cut]
    return replace(
        read,
        examples=state.examples + len(examples),
        size=file.append(examples),
        cut=state.cut + len(cut),
        blank=state.blank + sum(each.labels.count(IGNORED) == len(each.labels) for each in cut),
    )


def _batches(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    state: RunState,
    train: Train | None,
    report_skipped: Callable[[str], None],
) -> Iterator[tuple[RunState, list[TextPair]]]:
    """Yield some hundred pairs to encode after ``state``, and the counts of the records read."""
    number, skipped, empty = state.records, state.skipped, state.empty
    pairs: list[TextPair] = []
    characters = 0
    for number, found in enumerate(sources, 1):
        if number <= state.records:
            continue
        if isinstance(found, SkippedRecord):
            skipped += 1
            report_skipped(found.sentence)
            continue
        done = state.rounds if number == state.records + 1 else 0
        for rounds, index in enumerate(found.trained_replies(train)[done:], done + 1):
            pair = encoder.text_pair(found, index)
            if pair is None:
                empty += 1
                continue
            pairs.append(pair)
            characters += len(pair.prompt) + len(pair.reply)
            if len(pairs) >= _PAIRS_PER_BATCH or characters > _CHARACTERS_PER_BATCH:
                read = replace(state, records=number - 1, rounds=rounds, skipped=skipped)
                yield replace(read, empty=empty), pairs
                pairs, characters = [], 0
    yield replace(state, records=number, rounds=0, skipped=skipped, empty=empty), pairs


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
