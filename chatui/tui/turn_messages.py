"""The events that :class:`chatui.tui.turn.Turns` reports to the screen."""

from __future__ import annotations

from msgspec import Struct

from chatui.conversation.rounds import Round
from chatui.messages import Loaded, Loading, ModelSpec


class TurnMessage(Struct, frozen=True):
    """An event of the turns."""


class LoadProgress(TurnMessage, frozen=True):
    """The model is being loaded."""

    spec: ModelSpec
    loading: Loading


class ModelReady(TurnMessage, frozen=True):
    """The model is loaded and answers the next query."""

    spec: ModelSpec
    loaded: Loaded


class LoadFailed(TurnMessage, frozen=True):
    """The model could not be loaded; ``waiting`` are the queries withdrawn for that reason."""

    spec: ModelSpec
    sentence: str
    waiting: tuple[str, ...] = ()


class WaitingChanged(TurnMessage, frozen=True):
    """The waiting queries of the conversation on the screen have changed."""

    queries: tuple[str, ...]


class RoundBegun(TurnMessage, frozen=True):
    """A round was added to the store, for the conversation on the screen or another one."""

    round: Round


class PromptRead(TurnMessage, frozen=True):
    """The model has read the round's prompt and begins to reply; ``notes`` are for the user."""

    round: Round
    notes: tuple[str, ...]


class RoundEnded(TurnMessage, frozen=True):
    """The reply has ended; ``round.state`` says how."""

    round: Round


class ErrorOccurred(TurnMessage, frozen=True):
    """An error for the user to read; ``queries`` could not be sent and return to the query box."""

    sentence: str
    queries: tuple[str, ...] = ()
