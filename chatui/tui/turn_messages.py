"""What :class:`chatui.tui.turn.Turns` tells the screen: one small value for each event."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from chatui.conversation.rounds import Round
from chatui.messages import Loaded, Loading, ModelSpec


class LoadProgress(Struct, frozen=True):
    """The model is being loaded."""

    spec: ModelSpec
    loading: Loading


class ModelReady(Struct, frozen=True):
    """The next query goes to this model."""

    spec: ModelSpec
    loaded: Loaded


class LoadFailed(Struct, frozen=True):
    """The model could not be loaded; ``waiting`` were the queries meant for it."""

    spec: ModelSpec
    sentence: str
    waiting: tuple[str, ...] = ()


class WaitingChanged(Struct, frozen=True):
    """The queries of the conversation on the screen that wait for their turn."""

    queries: tuple[str, ...]


class RoundBegun(Struct, frozen=True):
    """A query is being answered, in the conversation on the screen or in another."""

    round: Round


class PromptRead(Struct, frozen=True):
    """The model has read the prompt of the round and begins to reply."""

    round: Round
    notes: tuple[str, ...]


class RoundEnded(Struct, frozen=True):
    """The reply has ended as ``round.state`` says."""

    round: Round


class ErrorOccurred(Struct, frozen=True):
    """One sentence for the user; ``queries`` could not be sent and should not be lost."""

    sentence: str
    queries: tuple[str, ...] = ()


TurnMessage: TypeAlias = (
    LoadProgress
    | ModelReady
    | LoadFailed
    | WaitingChanged
    | RoundBegun
    | PromptRead
    | RoundEnded
    | ErrorOccurred
)
