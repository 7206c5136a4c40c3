"""ChatRWKV's chats and its commands.

    +              regenerate the reply to the last message
    +reset         clear the chat
    +gen TEXT      continue TEXT, outside the chat
    +i TEXT        follow an instruction, outside the chat
    +qa TEXT       answer a question, outside the chat
    +qq TEXT       answer a question without a preamble
    ++             regenerate the last free text
    +++            continue the last free text

Source of the commands: BlinkDL/ChatRWKV, v2/chat.py, on_message().
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from chatui.locales import say
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.formats.dialogues import PREAMBLE as INSTRUCTION

WITH_TEXT = ("+gen", "+i", "+qa", "+qq")
ALONE = ("+", "++", "+++", "+reset")
FREE_TOKENS = 256
"""Tokens of a free text (FREE_GEN_LEN), which +++ continues."""

_FREE = ("+gen", "+i", "+qq", "++", "+++")


def command_of(query: str) -> tuple[str, str]:
    """Split a query into a lower-case command ("" for a message) and its text."""
    message = query.replace("\\n", "\n").strip()
    word, _, text = message.partition(" ")
    if word.lower() in WITH_TEXT and text.strip():
        return word.lower(), text.strip()
    return (message.lower(), "") if message.lower() in ALONE else ("", message)


def is_reset(query: str) -> bool:
    """True if the query only clears the chat."""
    return command_of(query)[0] == "+reset"


def is_free_text(query: str) -> bool:
    """True if the query asks for free text, which has no stop strings."""
    return command_of(query)[0] in _FREE


def _rwkv(
    name: str, source: str, *, user: str, bot: str, preamble: str, tidy: Callable[[str], str]
) -> PromptFormat:
    """Return the format of a chat between ``user`` and ``bot``.

    Args:
        preamble: start of the prompt, which ends with a blank line.
        tidy: function applied to messages.
    """

    def command_prompt(opening: str, command: str, text: str) -> str:
        """Return the prompt of a command outside the chat."""
        tidied = text.replace("\r\n", "\n").replace("\n\n", "\n")
        return {
            "+gen": f"\n{text}",
            "+qq": f"\nQ: {text}\nA:",
            "+qa": f"{opening}{user}: {text}\n\n{bot}:",
            "+i": f"\n{INSTRUCTION}\n\n# Instruction:\n{tidied}\n\n# Response:\n",
        }[command]

    def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
        opening = preamble if system is None else _as_preamble(system)
        chat: list[Exchange] = []
        # Prompt of the last free text, without and with the model's text.
        free = written = ""
        is_outside = False
        for asked, answered in (*history, (query, "")):
            command, text = command_of(asked)
            if command in WITH_TEXT:
                free = command_prompt(opening, command, text)
            elif command == "+++":
                free = written or free
            is_outside = command in WITH_TEXT or (command in ("++", "+++") and free != "")
            if is_outside:
                written = free + answered
            elif command == "+reset":
                chat.clear()
            else:
                if command == "+" and chat:
                    text = chat.pop()[0]
                elif command:
                    text = asked
                chat.append((tidy(text), answered))
        if is_outside:
            return free
        turns = "".join(f"{user}: {asked}\n\n{bot}: {reply}\n\n" for asked, reply in chat)
        return opening + turns.removesuffix(" \n\n")

    return PromptFormat(
        name=name,
        render=render,
        source=source,
        stop_strings=("\n\n", f"\n{user}:"),
        system=preamble,
        free_text=is_free_text,
        free_text_tokens=FREE_TOKENS,
        fixed_answer=lambda query: say("rwkv.reset") if is_reset(query) else None,
    )


def _as_preamble(system: str) -> str:
    """Turn a system prompt into a preamble like load_prompt() in v2/chat.py."""
    lines = [line.strip().strip("\u3000") for line in system.strip().split("\n")]
    text = "\n".join(lines).strip()
    return f"\n{text}\n\n" if text else ""


RAVEN = """
The following is a coherent verbose detailed conversation between a Chinese girl named Alice and \
her friend Bob. Alice is very intelligent, creative and friendly. Alice likes to tell Bob a lot \
about herself and her opinions. Alice usually gives Bob kind, helpful and informative advices.

Bob: lhc

Alice: LHC是指大型强子对撞机（Large Hadron Collider），是世界最大最强的粒子加速器，\
由欧洲核子中心（CERN）在瑞士日内瓦地下建造。LHC的原理是加速质子（氢离子）并让它们相撞，\
让科学家研究基本粒子和它们之间的相互作用，并在2012年证实了希格斯玻色子的存在。

Bob: 企鹅会飞吗

Alice: 企鹅是不会飞的。企鹅的翅膀短而扁平，更像是游泳时的一对桨。\
企鹅的身体结构和羽毛密度也更适合在水中游泳，而不是飞行。

"""

WORLD = (
    "User: hi\n\n"
    "Assistant: Hi. I am your assistant and I will provide expert full response in full details. "
    "Please feel free to ask any question and I will always answer it.\n\n"
)


def _one_break_each(message: str) -> str:
    return re.sub(r"\n+", "\n", message.replace("\r\n", "\n").strip())


def _no_blank_line(message: str) -> str:
    return message.strip().replace("\r\n", "\n").replace("\n\n", "\n")


FORMATS = (
    _rwkv(
        "chatrwkv",
        "BlinkDL/ChatRWKV: v2/chat.py, v2/prompt/default/Chinese-2.py",
        user="Bob",
        bot="Alice",
        preamble=RAVEN,
        tidy=_no_blank_line,
    ),
    _rwkv(
        "chatrwkv:world",
        "BlinkDL/ChatRWKV: API_DEMO_CHAT.py",
        user="User",
        bot="Assistant",
        preamble=WORLD,
        tidy=_one_break_each,
    ),
)
