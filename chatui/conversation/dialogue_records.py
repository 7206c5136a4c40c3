"""Convert dialogues and preference pairs to the JSON records of training programs.

:func:`.dialogues.parse_record` reads the records of dialogues.
"""

from __future__ import annotations

from typing import Any

from chatui.conversation.dialogues import Dialogue
from chatui.conversation.reply_filter import PreferencePair
from chatui.prompting.parts import reply_for_history


def to_openai(dialogue: Dialogue) -> dict[str, Any]:
    """Return OpenAI's messages."""
    return {"messages": _messages(dialogue, "role", "content", "user", "assistant")}


def to_sharegpt(dialogue: Dialogue) -> dict[str, Any]:
    """Return ShareGPT's conversations."""
    return {"conversations": _messages(dialogue, "from", "value", "human", "gpt")}


def to_alpaca(dialogue: Dialogue) -> dict[str, Any]:
    """Return Alpaca's row for the last round, with the earlier rounds as its history."""
    *history, (query, reply) = dialogue.rounds
    return {
        "instruction": query,
        "input": "",
        "output": reply,
        "history": [list(pair) for pair in history],
        **({} if dialogue.system is None else {"system": dialogue.system}),
    }


def to_chatglm(dialogue: Dialogue) -> list[list[str]]:
    """Return ChatGLM's history: pairs of query and reply."""
    return [list(pair) for pair in dialogue.rounds]


def to_trl(pair: PreferencePair) -> dict[str, Any]:
    """Return TRL's conversational preference with explicit prompt (its page "Dataset formats")."""
    history, query, chosen = _parts(pair)
    before = Dialogue(history, pair.dialogue.system)
    asked = _messages(before, "role", "content", "user", "assistant")
    return {
        "prompt": [*asked, {"role": "user", "content": query}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
    }


def to_llama_factory(pair: PreferencePair) -> dict[str, Any]:
    """Return LLaMA-Factory's preference row in Alpaca's format (its data/README.md)."""
    history, query, chosen = _parts(pair)
    return {
        "prompt": query,
        "chosen": chosen,
        "rejected": pair.rejected,
        "history": [list(exchange) for exchange in history],
        "system": pair.dialogue.system or "",
    }


def _parts(pair: PreferencePair) -> tuple[tuple[tuple[str, str], ...], str, str]:
    """Return the earlier rounds as prompts contain them, the query and the preferred reply."""
    *before, (query, chosen) = pair.dialogue.rounds
    return tuple((asked, reply_for_history(said)) for asked, said in before), query, chosen


def _messages(
    dialogue: Dialogue, speaker: str, text: str, asking: str, replying: str
) -> list[dict[str, str]]:
    system = [] if dialogue.system is None else [{speaker: "system", text: dialogue.system}]
    return system + [
        {speaker: name, text: said}
        for pair in dialogue.rounds
        for name, said in zip((asking, replying), pair, strict=True)
    ]
