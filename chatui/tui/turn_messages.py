"""What :class:`chatui.tui.turn.Turns` tells the screen: one small value for each event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from chatui.conversation.rounds import Round
from chatui.messages import Loaded, Loading, ModelSpec


@dataclass(frozen=True)
class LoadProgress:
    """The model is being loaded."""

    spec: ModelSpec
    loading: Loading


@dataclass(frozen=True)
class ModelReady:
    """The next query goes to this model."""

    spec: ModelSpec
    loaded: Loaded


@dataclass(frozen=True)
class LoadFailed:
    """The model could not be loaded; ``waiting`` were the queries meant for it."""

    spec: ModelSpec
    sentence: str
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True)
class WaitingChanged:
    """The queries of the conversation on the screen that wait for their turn."""

    queries: tuple[str, ...]


@dataclass(frozen=True)
class RoundBegun:
    """A query is being answered, in the conversation on the screen or in another."""

    round: Round


@dataclass(frozen=True)
class PromptRead:
    """The model has read the prompt of the round and begins to reply."""

    round: Round
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RoundEnded:
    """The reply has ended as ``round.state`` says."""

    round: Round


@dataclass(frozen=True)
class Trouble:
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
    | Trouble
)
