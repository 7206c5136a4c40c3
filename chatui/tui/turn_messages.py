"""The events that :class:`chatui.tui.turn.Turns` reports to the screen."""

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
    """The model is loaded and answers the next query."""

    spec: ModelSpec
    loaded: Loaded


class LoadFailed(Struct, frozen=True):
    """The model could not be loaded; ``waiting`` are the queries withdrawn for that reason."""

    spec: ModelSpec
    sentence: str
    waiting: tuple[str, ...] = ()


class WaitingChanged(Struct, frozen=True):
    """The waiting queries of the conversation on the screen have changed."""

    queries: tuple[str, ...]


class RoundBegun(Struct, frozen=True):
    """A round was added to the store, for the conversation on the screen or another one."""

    round: Round


class PromptRead(Struct, frozen=True):
    """The model has read the round's prompt and begins to reply; ``notes`` are for the user."""

    round: Round
    notes: tuple[str, ...]


class RoundEnded(Struct, frozen=True):
    """The reply has ended; ``round.state`` says how."""

    round: Round


class ErrorOccurred(Struct, frozen=True):
    """An error for the user to read; ``queries`` could not be sent and return to the query box."""

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
