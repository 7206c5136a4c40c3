"""An example transcript, and helpers to check and change transcripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

from chatui.conversation.rounds import Conversation, Piece, RenderedPrompt, Round, Transcript

DOCS = Path(__file__).parents[2] / "docs"
NASTY = '\x00\x1b[31m\x1b]0;t\x07\x9b31m\x7f[bold]\ud800\u2028\r\n\t"\\u0041"😀'


def example() -> Transcript:
    rounds = (
        Round(1, 0, None, "静夜思", "床前明月光", "done", "诗友", "shiyou", "eos", 2**64 - 1),
        Round(2, 0, 1, NASTY, NASTY, "failed", NASTY, error=NASTY, sampling={"top_k": 5}),
        Round(3, 0, 1, "", "", "stopped", started_at=1.7e9, seconds=2.5, output_tokens=7),
        Round(4, 0, 3, "四", "丁", "done", prompt_tokens=9, reused_tokens=3, started_at=1.7e9),
        Round(5, 0, 3, "四", "正", "done", rating=1, note=NASTY, corrects_id=4),
    )
    pieces = {
        1: (
            Piece(0.125, "床前", 5, -0.5, ((5, "床", 0.75), (6, NASTY, 0.25))),
            Piece(0.25, "明月光"),
        ),
        2: (Piece(0.0, "\ud83d"), Piece(0.0, "\ude00")),
        3: (),
        4: (Piece(0.1, "丁"),),
        5: (),
    }
    others: tuple[dict[str, Any], ...] = (
        {"t": -1, "type": "model", "name": "诗友", "adapters": [{"path": "x", "scale": 0.5}]},
        {"t": 0.2, "type": "mood", "round": 1, "text": NASTY, "more": [1, {"a": None}]},
    )
    about = Conversation(0, NASTY, 1.7e9, 1.7e9 + 0.5, 2, 3)
    return Transcript(
        about, rounds, pieces, {4: RenderedPrompt("提示", dropped_rounds=1).mark()}, others
    )


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.decode().splitlines()]


def check(data: bytes) -> None:
    """Check every line against the schema."""
    schema = json.loads((DOCS / "transcript.schema.json").read_text())
    header, *events = lines(data)
    jsonschema.Draft202012Validator(
        schema["$defs"]["header"] | {"$defs": schema["$defs"]}
    ).validate(header)
    validator = jsonschema.Draft202012Validator(
        schema["$defs"]["event"] | {"$defs": schema["$defs"]}
    )
    for event in events:
        validator.validate(event)


def version_1(whole: Transcript) -> dict[str, Any]:
    """Return a transcript of version 1."""
    about = whole.conversation
    names = ("query", "reply", "state", "model", "format", "finish_reason", "seed", "sampling")
    names += ("prompt_tokens", "reused_tokens", "output_tokens", "started_at", "seconds", "error")
    return {
        "format": "chatui-transcript",
        "version": 1,
        "conversation": {
            "title": about.title,
            "created_at": about.created_at,
            "updated_at": about.updated_at,
            "head": about.head_id,
        },
        "rounds": [
            {"id": each.id, "parent": each.parent_id}
            | {name: getattr(each, name) for name in names}
            | {
                "pieces": [
                    [piece.at_seconds, piece.text, piece.token_id, piece.logprob]
                    for piece in whole.pieces.get(each.id, ())
                ]
            }
            for each in whole.rounds
        ],
    }
