"""Dialogues as records that other programs train on; :func:`.dialogues.of_record` reads them."""

from __future__ import annotations

from typing import Any

from chatui.conversation.dialogues import Dialogue


def to_openai(dialogue: Dialogue) -> dict[str, Any]:
    """OpenAI's messages."""
    return {"messages": _messages(dialogue, "role", "content", "user", "assistant")}


def to_sharegpt(dialogue: Dialogue) -> dict[str, Any]:
    """ShareGPT's conversations."""
    return {"conversations": _messages(dialogue, "from", "value", "human", "gpt")}


def to_alpaca(dialogue: Dialogue) -> dict[str, Any]:
    """Alpaca's row of the last round, with the earlier ones as its history."""
    *history, (query, reply) = dialogue.rounds
    return {
        "instruction": query,
        "input": "",
        "output": reply,
        "history": [list(pair) for pair in history],
    }


def to_chatglm(dialogue: Dialogue) -> list[list[str]]:
    """ChatGLM's history: pairs of query and reply."""
    return [list(pair) for pair in dialogue.rounds]


def _messages(
    dialogue: Dialogue, speaker: str, text: str, asking: str, replying: str
) -> list[dict[str, str]]:
    return [
        {speaker: name, text: said}
        for pair in dialogue.rounds
        for name, said in zip((asking, replying), pair, strict=True)
    ]
