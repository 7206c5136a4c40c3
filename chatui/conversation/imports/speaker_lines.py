"""Read Markdown and text in which lines name the speaker: "User:", "**答**", "## Assistant".

chatui's exports as Markdown and text have this format.
"""

from __future__ import annotations

import re

from chatui.conversation.dialogues import ROLES, InvalidRecord
from chatui.conversation.exports import fence_after
from chatui.conversation.imports.message_tree import (
    ImportedMessage,
    Speaker,
    build_conversation,
    parse_speaker,
)
from chatui.conversation.rounds import Transcript
from chatui.locales import say

_NAMES: dict[str, Speaker | None] = {
    **{name: parse_speaker(name) for name in ROLES},
    **dict.fromkeys(("me", "you", "question", "q", "用户", "我", "问", "提问"), "user"),
    **dict.fromkeys(
        ("ai", "answer", "a", "reply", "助手", "答", "回答", "机器人", "模型"), "assistant"
    ),
    "系统": None,
}
_NAME = "|".join(sorted(map(re.escape, _NAMES), key=len, reverse=True))
_MODEL = r"(?: ?\(([^()]{1,80})\))?"
_SPEAKER = re.compile(
    rf"(#{{1,6}} +)?(\*\*|__)?({_NAME}){_MODEL}( ?[:：])?(?(2)\2){_MODEL}"
    r"(?(2)(?: · .*)?)( ?[:：])?\s*(.*)",
    re.IGNORECASE,
)
"""Groups: heading, bold, name, model and colon within the bold, model and colon after it, text."""

_ROUND_HEADING = re.compile(r"(?:## |\[)(?:Round \d+|第 \d+ 轮)\]?\s*")


def read_speaker_lines(text: str) -> Transcript:
    """Read the conversation in a text.

    The first name found for a speaker is used; lines with other names for it are text.

    Raises:
        InvalidRecord: no line names a speaker.
    """
    title = ""
    said: list[tuple[Speaker | None, str, list[str]]] = []
    names: dict[Speaker | None, str] = {}
    fence = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        fence = fence_after(line, fence)
        found = None if fence else _SPEAKER.fullmatch(line.strip())
        if found is not None:
            heading, bold, name, inner_model, inner_colon, model, colon, rest = found.groups()
            role = _NAMES[name.lower()]
            is_named = inner_colon or colon or ((heading or bold) and not rest)
            if is_named and names.setdefault(role, name.lower()) == name.lower():
                said.append((role, inner_model or model or "", [rest]))
                continue
        if not fence and _ROUND_HEADING.fullmatch(line):
            said.append((None, "", []))
        elif said:
            said[-1][2].append(line)
        elif not title:
            title = line.removeprefix("# ").strip()
    if not any(role for role, _, _ in said):
        raise InvalidRecord(say("import.no_speakers"))
    messages = [
        ImportedMessage(str(number), str(number - 1), role, _text(lines, role), model=model)
        for number, (role, model, lines) in enumerate(said)
    ]
    return build_conversation(messages, title=title)


def _text(lines: list[str], role: Speaker | None) -> str:
    text = "\n".join(line[:-2] if line.endswith("  ") else line for line in lines).strip("\n")
    is_quoted = all(line.startswith(">") for line in text.split("\n") if line.strip())
    if role == "user" and is_quoted:
        text = re.sub("^> ?", "", text, flags=re.MULTILINE)
    return text.strip("\n")
