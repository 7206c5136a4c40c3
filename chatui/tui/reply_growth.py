"""A reply that is drawn while it is written: the view gets what came since the last time."""

from __future__ import annotations

from chatui.tui.running_reply import RunningReply
from chatui.tui.widgets.round_view import RoundView

REDRAWS_PER_SECOND = 30
"""So often, at most, a growing reply is drawn."""


class GrowingReply:
    """A running reply and the view that shows it."""

    def __init__(self, reply: RunningReply, view: RoundView, drawn_pieces: int = 0) -> None:
        """
        Args:
            drawn_pieces: how many pieces of the reply the view shows already.
        """
        self.reply = reply
        self.view = view
        self._drawn_pieces = drawn_pieces

    def draw(self) -> None:
        """Show what came since the last time."""
        if new := self.reply.pieces[self._drawn_pieces :]:
            self._drawn_pieces += len(new)
            self.view.append("".join(piece.text for piece in new))
