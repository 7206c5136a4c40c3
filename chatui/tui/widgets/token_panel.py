"""F8: what the model read for a round, and how sure it was of each token it wrote."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.geometry import Region
from textual.style import Style
from textual.widgets import Static

from chatui.conversation.rounds import Piece, RenderedPrompt, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.readable import percent, size
from chatui.sampling import DEFAULTS
from chatui.text import one_line, plain_text, token_in_quotes
from chatui.tui.model_names import display_name
from chatui.tui.token_text import generated_pieces, prompt_text, speed_bars, token_table
from chatui.tui.turn import Turns
from chatui.tui.widgets.conversation_view import ConversationView
from chatui.tui.widgets.key_line import KeyLine
from chatui.tui.widgets.side_panel import SidePanel
from chatui.tui.widgets.token_rows import TokenRows

ALTERNATIVES = 5
"""How many candidates a reply keeps for each token while the box is open."""

PARTS = ("facts", "read-title", "read", "wrote-title", "wrote")
_POLL_SECONDS = 0.5
_CANDIDATE = "candidate"
_STREAMED_TOKENS = 200
"""So many of the last tokens are drawn while a reply grows."""


class TokenPanel(SidePanel, VerticalScroll, can_focus=True):
    """Shows a round from inside: the last one, or the one that was chosen with p and n.

    Looks twice a second at what has come, so that a reply costs no more while the box is open.
    """

    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "point(-1)", "tui.keys.token_before"),
        Binding("right", "point(1)", "tui.keys.token_after"),
        Binding("up", "candidate(-1)", "tui.keys.candidate_before"),
        Binding("down", "candidate(1)", "tui.keys.candidate_after"),
        Binding("enter", "take_pointed", "tui.keys.take_token"),
        Binding("p", "round(-1)", "tui.keys.token_panel_before"),
        Binding("n", "round(1)", "tui.keys.token_panel_after"),
        *(Binding(str(each), f"take({each})", "") for each in range(1, ALTERNATIVES + 1)),
        Binding("i", "table", "tui.keys.token_table"),
        Binding("escape", "leave", "tui.keys.close"),
    ]

    footer_keys = "overview.footer.token_panel"

    def __init__(self, turns: Turns, store: Store, conversation: ConversationView) -> None:
        super().__init__()
        self.round: Round | None = None
        self._turns = turns
        self._store = store
        self._conversation = conversation
        self._wanted: int | None = None
        self._prompt: RenderedPrompt | None = None
        self._pieces: Sequence[Piece] = ()
        self._chosen: int | None = None
        self._candidate = 0
        self._as_table = False
        self._is_growing = False
        self._drawn: object = None
        self._parts_shown: dict[str, Content] = {}

    def compose(self) -> ComposeResult:
        for part in PARTS:
            yield (
                TokenRows(classes=part) if part == "wrote" else Static(markup=False, classes=part)
            )
        with Vertical(classes="foot"):
            yield Static(markup=False, classes="token")
            yield KeyLine(say(self.footer_keys))

    def on_mount(self) -> None:
        self._turns.alternatives = ALTERNATIVES
        self.focus()
        self.set_interval(_POLL_SECONDS, self.refresh_round)
        self.refresh_round()

    def on_unmount(self) -> None:
        self._turns.alternatives = 0

    def refresh_round(self) -> None:
        """Show the round that was chosen, else the last one, if anything of it changed."""
        ids = self._conversation.round_ids
        if self._wanted not in ids:
            self._wanted = None
        wanted = self._wanted or (ids[-1] if ids else None)
        reply = self._turns.reply_here
        if reply is not None and reply.begun_round.id == wanted:
            self._show(reply.round, reply.prompt, reply.pieces, is_growing=not reply.ended)
        elif wanted is None:
            self._show(None)
        elif self.round is None or self.round.id != wanted:
            self._load(wanted)

    @work(exclusive=True)
    async def _load(self, round_id: int) -> None:
        """Show a round from what was kept; no model is needed."""
        store = self._store
        try:
            round_ = await asyncio.to_thread(store.round, round_id)
            prompt = await asyncio.to_thread(store.prompt, round_id)
            pieces = await asyncio.to_thread(store.pieces, round_id)
        except ChatuiError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self._show(round_, prompt, pieces)

    def _show(
        self,
        round_: Round | None,
        prompt: RenderedPrompt | None = None,
        pieces: Sequence[Piece] = (),
        is_growing: bool = False,
    ) -> None:
        state = (round_ and (round_.id, round_.state), prompt, len(pieces))
        if state == self._drawn:
            return
        if self.round is None or round_ is None or self.round.id != round_.id:
            self._chosen = None
            self.scroll_home(animate=False)
        self._drawn = state
        self.round, self._prompt, self._pieces = round_, prompt, pieces
        self._is_growing = is_growing
        self._draw()

    # Keys and clicks

    def action_round(self, step: int) -> None:
        """Look at the round before, or at the next one; after the last, at the newest again."""
        ids = self._conversation.round_ids
        if self.round is not None and self.round.id in ids:
            place = max(0, ids.index(self.round.id) + step)
            self._wanted = ids[place] if place < len(ids) - 1 else None
            self.refresh_round()

    def action_point(self, step: int) -> None:
        """Point at the next token, or at the one before."""
        if self._pieces:
            start = len(self._pieces) if step < 0 else -1
            self._point(start + step if self._chosen is None else self._chosen + step)

    def action_candidate(self, step: int) -> None:
        """Point at another candidate for the chosen token; without one, scroll."""
        if self._chosen is None or not (others := self._pieces[self._chosen].alternatives):
            self.scroll_relative(y=step, animate=False)
        else:
            self._candidate = max(1, min(self._candidate + step, len(others)))
            self._draw()

    def action_take_pointed(self) -> None:
        if self._candidate:
            self.action_take(self._candidate)

    def action_take(self, number: int) -> None:
        """Write the reply again from the chosen token on, with one of its alternatives there."""
        if self.round is None or self._chosen is None or self._is_growing:
            return
        alternatives = self._pieces[self._chosen].alternatives
        if self._turns.spec.backend == "openai":
            self.notify(say("backends.cannot_go_on"), markup=False)
        elif number <= len(alternatives):
            self._turns.continue_from_token(self.round, self._chosen, alternatives[number - 1][0])
            self._wanted = self._chosen = None

    def action_table(self) -> None:
        """Show the prompt as a table of ids and pieces, or as text again."""
        self._as_table = not self._as_table
        self._draw()

    @on(TokenRows.Clicked)
    def _on_token_clicked(self, event: TokenRows.Clicked) -> None:
        self._point(event.index)

    def on_click(self, event: Click) -> None:
        number = event.style.meta.get(_CANDIDATE)
        if isinstance(number, int):
            self.action_take(number)

    def _point(self, index: int) -> None:
        self._chosen = max(0, min(index, len(self._pieces) - 1))
        self._candidate = 0
        self._draw()
        self.call_after_refresh(self._bring_into_view)

    def _bring_into_view(self) -> None:
        rows = self.query_one(TokenRows)
        if self._chosen is not None and rows.display:
            y = rows.virtual_region.y + rows.row_of(self._chosen)
            self.scroll_to_region(Region(0, y, 1, 1), animate=False)

    # Drawing

    def _draw(self) -> None:
        if self.round is None:
            self.query_one(TokenRows).show((), 0, None)
            self._update_parts({"facts": Content(say("tui.token_panel.empty"))})
            return
        hidden = max(0, len(self._pieces) - _STREAMED_TOKENS) if self._is_growing else 0
        self.query_one(TokenRows).show(self._pieces, hidden, self._chosen)
        self._update_parts(
            {
                "facts": self._facts(self.round),
                "read-title": Content(say("tui.token_panel.read")),
                "read": self._read(),
                "wrote-title": Content(say("tui.token_panel.wrote")),
                "token": self._token(),
            }
        )

    def _update_parts(self, parts: dict[str, Content]) -> None:
        for part in self.query(Static).exclude("KeyLine"):
            (name,) = part.classes
            content = parts.get(name, Content())
            said = self._parts_shown.get(name)
            if said is None or not said.is_same(content):
                self._parts_shown[name] = content
                part.display = bool(content.plain)
                part.update(content)

    def _facts(self, round_: Round) -> Content:
        """Who replied, counts, speed, and the settings that differ from chatui's defaults."""
        prompt, pieces = self._prompt, self._pieces
        reused = round_.reused_tokens
        lines = [
            " · ".join(filter(None, (one_line(display_name(round_.model)), round_.format))),
            say(
                "tui.token_panel.counts",
                prompt=round_.prompt_tokens,
                reused=reused,
                limit=self._limit,
            ),
        ]
        if prompt is not None and prompt.memory_bytes:
            lines.append(say("overview.token_panel.memory", size=size(prompt.memory_bytes)))
        if prompt is not None and prompt.dropped_rounds:
            lines.append(say("tui.round.dropped", count=prompt.dropped_rounds))
        pieces = generated_pieces(pieces)
        if pieces:
            span = pieces[-1].at_seconds - pieces[0].at_seconds
            speed = (len(pieces) - 1) / span if span > 0 else 0.0
            first = f"{pieces[0].at_seconds:.2f}"
            lines.append(say("tui.token_panel.speed", first=first, speed=f"{speed:.1f}"))
            lines.append(speed_bars(pieces))
        changed = [
            f"{name} {value}"
            for name, value in round_.sampling.items()
            if name not in ("seed", "begun_pieces", "next_id")
            and value is not None
            and value != getattr(DEFAULTS, name, None)
        ]
        seed = [] if round_.seed is None else [f"seed {round_.seed}"]
        lines.append(one_line(", ".join((*changed, *seed)), None))
        return Content("\n".join(filter(None, lines)))

    @property
    def _limit(self) -> str:
        limit = 0 if self._prompt is None else self._prompt.context_limit
        return str(limit or "?")

    def _read(self) -> Content:
        if self._prompt is None:
            return Content.styled(say("tui.token_panel.not_kept"), "$foreground-muted")
        if self._as_table and self._prompt.input_ids:
            return token_table(self._prompt)
        return prompt_text(self._prompt)

    def _token(self) -> Content:
        """The token that is pointed at, and what else could have stood there."""
        if self._chosen is None or self._chosen >= len(self._pieces):
            words = say("tui.token_panel.point") if self._pieces else ""
            return Content.styled(words, "$foreground-muted")
        piece = self._pieces[self._chosen]
        share = "?" if piece.logprob is None else percent(math.exp(piece.logprob))
        # Half a character has no text of its own, but its piece is among the candidates.
        pieces = {id_: token for id_, token, _ in piece.alternatives}
        name = plain_text(token_in_quotes(piece.text or pieces.get(piece.token_id, "")))
        at = f"{piece.at_seconds:.2f}"
        words = say("tui.token_panel.token", token=name, id=piece.token_id, share=share, at=at)
        lines = [Content.styled(words, "bold")]
        for number, (id_, token, probability) in enumerate(piece.alternatives, 1):
            bar = "▇" * round(probability * 12) or "▏"
            name = plain_text(token_in_quotes(token))
            mark = "▸" if number == self._candidate else " "
            text = f"{mark}{number} {bar:<12} {percent(probability):>6}  {name}"
            is_taken = id_ == piece.token_id
            line = Content.styled(text, "$accent" if is_taken else "")
            lines.append(line.stylize(Style.from_meta({_CANDIDATE: number})))
        hint = "take" if piece.alternatives else "no_alternatives"
        lines.append(Content.styled(say(f"tui.token_panel.{hint}"), "$foreground-muted"))
        return Content("\n").join(lines)
