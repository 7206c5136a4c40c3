"""The note below a reply: how it ended, its rating, and what is missing."""

from __future__ import annotations

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.prompting.parts import reply_for_history
from chatui.text import one_line, plain_text

_MAX_NOTE_CHARACTERS = 4_000


def note_text(round_: Round, *, has_reply: bool, hidden: int, dropped_rounds: int) -> str:
    """Return the note of a round, one line per fact; "" if there is nothing to say.

    Args:
        has_reply: True if some of the reply is shown.
        hidden: characters of the query and the reply that are not shown.
        dropped_rounds: number of older rounds that did not fit into the prompt.
    """
    lines = [
        say("tui.round.edited") if round_.sampling.get("edited") else "",
        _state_text(round_, has_reply),
        exclusion_reason(round_),
        _rating_text(round_),
        say("tui.round.damaged", names=", ".join(round_.damaged)) if round_.damaged else "",
        say("tui.round.hidden", count=f"{hidden:,}") if hidden else "",
        say("tui.round.dropped", count=dropped_rounds) if dropped_rounds else "",
    ]
    return "\n".join(filter(None, lines))


def exclusion_reason(round_: Round) -> str:
    """Return why later prompts leave a round out; "" if they include it."""
    if round_.state == "streaming" or reply_for_history(round_.reply).strip():
        return ""
    return say("tui.round.only_thoughts" if round_.reply.strip() else "tui.round.empty")


def _state_text(round_: Round, has_reply: bool) -> str:
    if round_.state == "streaming":
        return "" if has_reply else say("tui.round.reading")
    if round_.state == "failed":
        return say("tui.round.failed", reason=one_line(round_.error or "", 1000))
    if round_.state in ("stopped", "interrupted"):
        return say(f"tui.round.{round_.state}")
    if round_.finish_reason in ("length", "filter"):
        return say(f"tui.round.{round_.finish_reason}")
    return ""


def _rating_text(round_: Round) -> str:
    rating = {1: say("tui.round.good"), -1: say("tui.round.bad"), 0: ""}[round_.rating]
    note = plain_text(round_.note[:_MAX_NOTE_CHARACTERS])
    return " ".join(filter(None, (rating, note and say("tui.round.note", text=note))))
