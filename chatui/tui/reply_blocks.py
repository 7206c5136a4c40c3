"""A reply as blocks of rows: the answer, and the folded parts before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from chatui.locales import say
from chatui.prompting.parts import Kind, ReplyPart, split_reply
from chatui.text import plain_text
from chatui.tui.wrapped_text import WrappedText

BlockName: TypeAlias = Literal["reply", "fold", "folded"]
"""The answer; the line of a folded part; the text of that part if it is open."""

_FOLD_MARKS = (
    *("<think>", "</think>"),
    *(f"<|{label}|>" for label in ("Inner Thoughts", "Commands", "Results", "MOSS")),
)
"""The marks with which a folded part begins or ends."""

_MARKS = (*_FOLD_MARKS, *(f"<eo{letter}>" for letter in "htcrm"))
"""The marks that are never shown."""


@dataclass
class ReplyBlock:
    """A block of rows.

    Attributes:
        name: kind of the block.
        text: rows.
        part: index of the part in the reply.
    """

    name: BlockName
    text: WrappedText
    part: int = 0


class ReplyBlocks:
    """The blocks of a growing reply.

    The time to append to a reply without folded parts depends only on the appended text.

    Attributes:
        blocks: blocks from top to bottom; one for a reply without folded parts.
        hidden: number of characters not shown.
        is_markdown: whether the answer is shown as Markdown, from the next ``set_text`` on.
    """

    def __init__(
        self, text: str, limit: int, *, is_complete: bool = True, is_markdown: bool = False
    ) -> None:
        """
        Args:
            limit: maximum number of characters of each part shown by ``set_text``.
            is_complete: False if text may be appended.
            is_markdown: whether the answer is shown as Markdown.
        """
        self.hidden = 0
        self.is_markdown = is_markdown
        self.blocks = [ReplyBlock("reply", WrappedText())]
        self._limit = limit
        self._open: set[int] = set()
        self._parts: tuple[ReplyPart, ...] = ()
        self.set_text(text, is_complete=is_complete)

    @property
    def text(self) -> str:
        """The shown text."""
        return "\n".join(block.text.text for block in self.blocks)

    @property
    def raw(self) -> str:
        """The reply as given."""
        return "".join(self._raw)

    @property
    def has_folds(self) -> bool:
        """Whether the reply has folded parts."""
        return any(block.name == "fold" for block in self.blocks)

    @property
    def has_text(self) -> bool:
        """Whether there is text to show."""
        return bool(self.blocks) and (len(self.blocks) > 1 or self.blocks[0].text.has_text)

    def set_text(self, text: str, *, is_complete: bool = True) -> None:
        """Replace the reply; open parts stay open."""
        self._raw = [text]
        self._is_whole = is_complete
        self._held = "" if is_complete else _unfinished_mark(text)
        self._folds = any(mark in text for mark in _FOLD_MARKS)
        if self._folds:
            self._split(self._limit)
        else:
            shown = text[: len(text) - len(self._held)]
            self.hidden = max(0, len(shown) - self._limit)
            self.blocks = [ReplyBlock("reply", self._answer(plain_text(shown[: self._limit])))]

    def end(self, text: str, *, is_complete: bool) -> None:
        """End the reply with its final text, without wrapping an unchanged answer again.

        Args:
            text: the reply; white space at its end may have been stripped.
        """
        raw = self.raw
        is_stripped = text == raw.rstrip() and not raw[len(text) :].strip(" \t\n\u3000")
        if self._folds or self._held or not (text == raw or is_stripped):
            self.set_text(text, is_complete=is_complete)
        elif text != raw:
            self._raw = [text]
            self.blocks[0].text.strip_end()

    def append(self, text: str) -> int | None:
        """Append text; return the first changed row of the answer, or None with folded parts."""
        self._raw.append(text)
        self._is_whole = False
        arrived = self._held + text
        self._held = _unfinished_mark(arrived)
        self._folds = self._folds or any(mark in arrived for mark in _FOLD_MARKS)
        if self._folds:
            self._split()
            return None
        return self.blocks[0].text.append(plain_text(arrived[: len(arrived) - len(self._held)]))

    def toggle(self, part: int) -> None:
        """Open a folded part, or fold it."""
        self._open ^= {part}
        self._rebuild()

    def toggle_all(self) -> None:
        """Open all folded parts, or fold them if any is open."""
        folds = {block.part for block in self.blocks if block.name == "fold"}
        self._open = set() if self._open & folds else folds
        self._rebuild()

    def _split(self, limit: int | None = None) -> None:
        raw = self.raw
        shown = raw[: len(raw) - len(self._held)]
        self._parts = split_reply(shown)
        self.hidden = sum(max(0, len(part.text) - limit) for part in self._parts) if limit else 0
        if limit:
            self._parts = tuple(ReplyPart(part.kind, part.text[:limit]) for part in self._parts)
        self._rebuild()

    def _rebuild(self) -> None:
        """Make the blocks of the parts, and reuse unchanged rows."""
        before = {
            (block.part, block.name): block.text
            for block in self.blocks
            if block.name != "reply" or self.is_markdown == block.text.IS_MARKDOWN
        }
        blocks: list[ReplyBlock] = []
        for number, part in enumerate(self._parts):
            text = plain_text(part.text)
            if part.kind == "answer":
                rows = self._kept(before.get((number, "reply")), text) or self._answer(text)
                blocks.append(ReplyBlock("reply", rows, number))
                continue
            is_open = number in self._open
            goes_on = not self._is_whole and number == len(self._parts) - 1
            label = self._wrapped(_label(part.kind, len(part.text), is_open, goes_on))
            blocks.append(ReplyBlock("fold", label, number))
            if is_open:
                rows = self._kept(before.get((number, "folded")), text) or self._wrapped(text)
                blocks.append(ReplyBlock("folded", rows, number))
        self.blocks = blocks or [ReplyBlock("reply", self._answer(""))]

    def _kept(self, rows: WrappedText | None, text: str) -> WrappedText | None:
        """Append the new end of ``text`` to ``rows``; None if they contain another text."""
        shown = "" if rows is None else rows.source
        if rows is None or not text.startswith(shown):
            return None
        if len(text) > len(shown):
            rows.append(text[len(shown) :])
        return rows

    def _answer(self, text: str) -> WrappedText:
        if not self.is_markdown:
            return self._wrapped(text)
        # Imported late, because the first paint does not need it.
        from chatui.tui.markdown.markdown_text import MarkdownText

        return MarkdownText(text, self.blocks[0].text.width, is_complete=self._is_whole)

    def _wrapped(self, text: str) -> WrappedText:
        return WrappedText(text, self.blocks[0].text.width)


def _label(kind: Kind, characters: int, is_open: bool, goes_on: bool) -> str:
    name = say(f"tui.fold.{kind}_now" if goes_on and kind == "thinking" else f"tui.fold.{kind}")
    arrow = "▾" if is_open else "▸"
    return f"{arrow} " + say("tui.fold.label", name=name, count=f"{characters:,}")


def _unfinished_mark(text: str) -> str:
    """Return the end of ``text`` that may be the beginning of a mark; "" if there is none."""
    end = text[text.rfind("<") :] if "<" in text[-20:] else ""
    return end if any(mark.startswith(end) and mark != end for mark in _MARKS) else ""
