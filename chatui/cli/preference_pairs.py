"""Preference pairs of ``chatui dataset --pairs``: texts, with token ids if a model is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatui.cli.output import write, write_stderr
from chatui.conversation import dialogues
from chatui.conversation.conversation_files import SkippedRecord
from chatui.conversation.dialogue_sources import DialogueSources
from chatui.conversation.dialogues import PreferencePair
from chatui.conversation.exports import write_atomically
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import escape_json

if TYPE_CHECKING:
    from chatui.engine.examples.example_encoder import ExampleEncoder

RECORDS: dict[str, Callable[[PreferencePair], dict[str, Any]]] = {
    "trl": dialogues.to_trl,
    "llama-factory": dialogues.to_llama_factory,
}


def write_pairs(
    sources: DialogueSources, target: Path | None, form: str, encoder: ExampleEncoder | None
) -> int:
    """Write all pairs to a file at once, or print the first pair; returns the number of pairs.

    Args:
        target: the file; None prints the first pair.
        form: a key of :data:`RECORDS`.
        encoder: adds token ids; None leaves them out.

    Raises:
        ChatuiError: there is no pair, or the file cannot be written.
    """
    lines = _lines(sources, RECORDS[form], encoder)
    first = next(lines, None)
    if first is None:
        raise ChatuiError(say("dataset.no_pairs_rated"))
    if target is None:
        write(first)
        return 1
    count = 0

    def counted() -> Iterator[str]:
        nonlocal count
        for line in chain([first], lines):
            count += 1
            yield line

    write_atomically(target, counted())
    return count


def _lines(
    sources: DialogueSources,
    record_of: Callable[[PreferencePair], dict[str, Any]],
    encoder: ExampleEncoder | None,
) -> Iterator[str]:
    for found in sources.pairs():
        if isinstance(found, SkippedRecord):
            write_stderr(found.sentence)
            continue
        record = record_of(found)
        if encoder is not None:
            ids = encoder.preference_ids(found)
            if ids is None:
                continue
            record |= ids
        yield escape_json(json.dumps(record, ensure_ascii=False)) + "\n"
