"""Write the examples of many dialogues: in constant memory, and to be taken up again.

How far a run has come is kept beside its file. What was interrupted goes on there, if sources,
tokenizer and options are the same, and the bytes of the whole file are those of a run in one go.
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
    Form,
    GrowingFile,
    open_growing,
    partial_path,
)
from chatui.engine.examples.training_example import IGNORED
from chatui.errors import ChatuiError
from chatui.locales import say

_PAIRS_AT_ONCE = 256
_CHARACTERS_AT_ONCE = 1 << 22
_SAVE_SECONDS = 1.0


@dataclass(frozen=True)
class RunState:
    """How far a run has come.

    Attributes:
        key: of its sources, tokenizer and options.
        records: how many were read, those that were left out included.
        rounds: how many replies of the next record were read too.
        examples: how many were written.
        place: where the file of examples ends.
        skipped: records that are no dialogue.
        empty: rounds that were left out for an empty query or reply.
        cut: examples whose prompt or reply was too long.
        blank: of these, examples in which nothing is left to learn.
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
    """How far a run is, and its speed since it was begun or taken up again."""

    state: RunState
    done_bytes: int
    total_bytes: int
    examples_per_second: float


def write_examples(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    target: Path,
    *,
    form: Form,
    train: Train | None,
    options: Mapping[str, object],
    report: Callable[[RunProgress], None],
    tell: Callable[[str], None],
) -> RunState:
    """Write the examples of ``sources`` to ``target``, going on where an equal run broke off.

    Args:
        options: what else the bytes depend on, as JSON values.
        report: told the progress after each batch.
        tell: told a sentence for each record that is left out.

    Raises:
        ChatuiError: nothing can be read or written, or another chatui writes this file now.
    """
    about = [sources.fingerprint(), train, form, encoder.layout.columns, dict(options)]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    kept = _state_file(target)
    try:
        with ExitStack() as stack:
            lock = partial_path(target).with_name(partial_path(target).name + ".lock")
            stack.enter_context(FileLock(str(lock), timeout=0))
            stack.callback(lock.unlink, missing_ok=True)
            open_at = partial(
                open_growing, form, target, encoder.layout.columns, encoder.layout.length
            )
            try:
                state = _kept_state(kept, key)
                file = open_at(state.place)
            except CannotResume:
                state = RunState(key)
                file = open_at(state.place)
            stack.callback(file.close)
            state = _run(encoder, sources, file, kept, state, train, report, tell)
            if not state.examples:
                raise ChatuiError(say("dataset.nothing"))
            file.finish(target)
            kept.unlink(missing_ok=True)
            return state
    except Timeout as error:
        raise ChatuiError(say("dataset.busy", path=target)) from error
    except OSError as error:
        raise ChatuiError(say("conversation.file_unwritable", path=target, reason=error)) from error


def _run(
    encoder: ExampleEncoder,
    sources: DialogueSources,
    file: GrowingFile,
    kept: Path,
    state: RunState,
    train: Train | None,
    report: Callable[[RunProgress], None],
    tell: Callable[[str], None],
) -> RunState:
    total = sources.total_bytes
    began = saved = time.monotonic()
    before = state.examples
    batches = _batches(encoder, sources, state, train, tell)
    try:
        for batch, ids in _encoded_ahead(encoder, batches):
            state = _written(encoder, file, state, batch, ids)
            now = time.monotonic()
            speed = (state.examples - before) / max(now - began, 1e-6)
            if batch.pairs:
                report(RunProgress(state, sources.done_bytes, total, speed))
            if now - saved > _SAVE_SECONDS:
                saved = now
                _save(kept, state, file)
    except BaseException:
        # A full disk keeps the state that was saved last.
        with suppress(OSError):
            _save(kept, state, file)
        raise
    return state


@dataclass
class _Batch:
    """Some hundred pairs, and the counts of :class:`RunState` behind them."""

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
    tell: Callable[[str], None],
) -> Iterator[_Batch]:
    """What to encode, from behind ``state`` on."""
    batch = _Batch(state.records, state.rounds, state.skipped, state.empty)
    for read, found in enumerate(sources, 1):
        if read <= state.records:
            continue
        if isinstance(found, SkippedRecord):
            batch.skipped += 1
            tell(found.sentence)
        else:
            done = state.rounds if read == state.records + 1 else 0
            for rounds, place in enumerate(found.trained_replies(train)[done:], done + 1):
                pair = encoder.text_pair(found, place)
                if pair is None:
                    batch.empty += 1
                else:
                    batch.pairs.append(pair)
                    batch.characters += len(pair.prompt) + len(pair.reply)
                if len(batch.pairs) >= _PAIRS_AT_ONCE or batch.characters > _CHARACTERS_AT_ONCE:
                    batch.rounds = rounds
                    yield batch
                    batch = _Batch(read - 1, rounds, batch.skipped, batch.empty)
        batch.records, batch.rounds = read, 0
    yield batch


def _encoded_ahead(
    encoder: ExampleEncoder, batches: Iterable[_Batch]
) -> Iterator[tuple[_Batch, list[IdPair]]]:
    """Each batch with its token ids; the next one is encoded meanwhile, beside Python's lock."""
    with ThreadPoolExecutor(1) as pool:
        before: tuple[_Batch, Future[list[IdPair]]] | None = None
        for batch in batches:
            encoding = pool.submit(encoder.encode_pairs, batch.pairs)
            if before is not None:
                yield before[0], before[1].result()
            before = batch, encoding
        if before is not None:
            yield before[0], before[1].result()


def _written(
    encoder: ExampleEncoder, file: GrowingFile, state: RunState, batch: _Batch, ids: list[IdPair]
) -> RunState:
    """The state when the examples of ``batch``, with these ids, are in ``file``."""
    examples = [encoder.make_example(pair) for pair in ids]
    place = file.append(examples) if examples else state.place
    blank = sum(each.labels.count(IGNORED) == len(each.labels) for each in examples if each.is_cut)
    return replace(
        state,
        records=batch.records,
        rounds=batch.rounds,
        examples=state.examples + len(examples),
        place=place,
        skipped=batch.skipped,
        empty=batch.empty,
        cut=state.cut + sum(each.is_cut for each in examples),
        blank=state.blank + blank,
    )


def _state_file(target: Path) -> Path:
    return partial_path(target).with_name(partial_path(target).name + ".json")


def _kept_state(file: Path, key: str) -> RunState:
    """The state that was kept, if it is of such a run; else that of the beginning."""
    try:
        state = msgspec.json.decode(file.read_bytes(), type=RunState)
    except (OSError, msgspec.MsgspecError):
        return RunState(key)
    return state if state.key == key else RunState(key)


def _save(kept: Path, state: RunState, file: GrowingFile) -> None:
    file.flush()
    new = kept.with_name(kept.name + ".new")
    new.write_bytes(msgspec.json.encode(state))
    new.replace(kept)
