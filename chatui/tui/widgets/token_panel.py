"""F8: the panel with the prompt of a round and the probability of each token of its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.geometry import Region
from textual.widgets import Static

from chatui.conversation.rounds import Piece, RenderedPrompt, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.token_text import CANDIDATE, prompt_text, round_facts, token_details, token_table
from chatui.tui.turn import Turns
from chatui.tui.widgets.conversation_view import ConversationView
from chatui.tui.widgets.key_line import KeyLine
from chatui.tui.widgets.side_panel import SidePanel
from chatui.tui.widgets.token_rows import TokenRows

ALTERNATIVES = 5
"""Alternatives that a reply records for each token while the panel is open."""

_POLL_SECONDS = 0.5
_STREAMED_TOKENS = 200
"""Number of tokens at the end of a growing reply that are drawn."""


class TokenPanel(SidePanel, VerticalScroll, can_focus=True):
    """Shows the prompt and the tokens of the last round, or of one selected with p and n.

    It polls a growing reply twice a second instead of handling each token.
    """

    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "select_token(-1)", "tui.keys.token_before"),
        Binding("right", "select_token(1)", "tui.keys.token_after"),
        Binding("up", "candidate(-1)", "tui.keys.candidate_before"),
        Binding("down", "candidate(1)", "tui.keys.candidate_after"),
        Binding("enter", "take_highlighted", "tui.keys.take_token"),
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
        self._selected_id: int | None = None
        self._prompt: RenderedPrompt | None = None
        self._pieces: Sequence[Piece] = ()
        self._token_index: int | None = None
        self._candidate = 0
        self._as_table = False
        self._is_growing = False
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        yield Static(classes="facts")
        yield Static(say("tui.token_panel.read"), classes="read-title", markup=False)
        yield Static(classes="read")
        yield Static(say("tui.token_panel.wrote"), classes="wrote-title", markup=False)
        yield TokenRows(classes="wrote")
        with Vertical(classes="foot"):
            yield Static(classes="token")
            yield KeyLine(say(self.footer_keys))

    def on_mount(self) -> None:
        self._turns.alternatives = ALTERNATIVES
        self.focus()
        self.set_interval(_POLL_SECONDS, self.refresh_round)
        self.refresh_round()

    def on_unmount(self) -> None:
        self._turns.alternatives = 0

    def refresh_round(self) -> None:
        """Show the selected round, else the last one, if it has changed."""
        ids = self._conversation.round_ids
        if self._selected_id not in ids:
            self._selected_id = None
        wanted = self._selected_id or (ids[-1] if ids else None)
        reply = self._turns.reply_here
        if reply is not None and reply.begun_round.id == wanted:
            self._show(reply.round, reply.prompt, reply.pieces, is_growing=not reply.ended)
        elif wanted is None:
            self._show(None)
        elif self.round is None or self.round.id != wanted:
            self._load(wanted)

    @work(exclusive=True)
    async def _load(self, round_id: int) -> None:
        """Show a round from the store."""
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
            self._token_index = None
            self.scroll_home(animate=False)
        self._drawn = state
        self.round, self._prompt, self._pieces = round_, prompt, pieces
        self._is_growing = is_growing
        self._draw()

    # Keys and clicks

    def action_round(self, step: int) -> None:
        """Select the previous or the next round; after the last, follow the newest round again."""
        ids = self._conversation.round_ids
        if self.round is not None and self.round.id in ids:
            place = max(0, ids.index(self.round.id) + step)
            self._selected_id = ids[place] if place < len(ids) - 1 else None
            self.refresh_round()

    def action_select_token(self, step: int) -> None:
        """Select the next or the previous token."""
        if self._pieces:
            outside = len(self._pieces) if step < 0 else -1
            self._select_token((outside if self._token_index is None else self._token_index) + step)

    def action_candidate(self, step: int) -> None:
        """Highlight another alternative of the selected token; scroll if it has none."""
        if (token := self._token) and token.alternatives:
            self._candidate = max(1, min(self._candidate + step, len(token.alternatives)))
            self._draw()
        else:
            self.scroll_relative(y=step, animate=False)

    def action_take_highlighted(self) -> None:
        if self._candidate:
            self.action_take(self._candidate)

    def action_take(self, number: int) -> None:
        """Write the reply again from an alternative of the selected token on."""
        if self.round is None or self._token_index is None or self._is_growing:
            return
        alternatives = self._pieces[self._token_index].alternatives
        if self._turns.spec.backend == "openai":
            self.notify(say("backends.cannot_continue"), markup=False)
        elif number <= len(alternatives):
            token_id, _, _ = alternatives[number - 1]
            self._turns.continue_reply(self.round, (self._token_index, token_id))
            self._selected_id = self._token_index = None

    def action_table(self) -> None:
        """Switch the prompt between text and a table of token ids."""
        self._as_table = not self._as_table
        self._draw()

    def on_click(self, event: Click) -> None:
        if isinstance(event.widget, TokenRows):
            if (index := event.widget.token_at(event.x, event.y)) is not None:
                self._select_token(index)
        elif number := event.style.meta.get(CANDIDATE):
            self.action_take(number)

    @property
    def _token(self) -> Piece | None:
        """The selected token."""
        index = self._token_index
        return None if index is None or index >= len(self._pieces) else self._pieces[index]

    def _select_token(self, index: int) -> None:
        self._token_index = max(0, min(index, len(self._pieces) - 1))
        self._candidate = 0
        self._draw()
        self.call_after_refresh(self._bring_into_view)

    def _bring_into_view(self) -> None:
        rows = self.query_one(TokenRows)
        if self._token_index is not None and rows.display:
            y = rows.virtual_region.y + rows.row_of(self._token_index)
            self.scroll_to_region(Region(0, y, 1, 1), animate=False)

    # Drawing

    def _draw(self) -> None:
        self.set_class(self.round is None, "-empty")
        hidden = max(0, len(self._pieces) - _STREAMED_TOKENS) if self._is_growing else 0
        self.query_one(TokenRows).show(self._pieces, hidden, self._token_index)
        facts, token = Content(say("tui.token_panel.empty")), Content()
        if self.round is not None:
            facts = round_facts(self.round, self._prompt, self._pieces)
        if self._token is not None:
            token = token_details(self._token, self._candidate)
        elif self._pieces:
            token = Content.styled(say("tui.token_panel.point"), "$foreground-muted")
        for name, content in {"facts": facts, "read": self._read(), "token": token}.items():
            part = self.query_one(f".{name}", Static)
            # An update lays the whole panel out again.
            if not (isinstance(part.content, Content) and part.content.is_same(content)):
                part.update(content)
                part.display = bool(content)

    def _read(self) -> Content:
        """Return the prompt."""
        if self.round is None:
            return Content()
        if self._prompt is None:
            key = "tui.round.reading" if self._is_growing else "tui.token_panel.not_kept"
            return Content.styled(say(key), "$foreground-muted")
        if self._as_table and self._prompt.input_ids:
            return token_table(self._prompt)
        return prompt_text(self._prompt)
