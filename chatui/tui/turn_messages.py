"""What :class:`chatui.tui.turn.Turns` tells the screen: tiny values, one for each thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from chatui.conversation.rounds import Round
from chatui.messages import Loaded, Loading, ModelSpec, Prefill


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
    """The queries that wait for their turn."""

    queries: tuple[str, ...]


@dataclass(frozen=True)
class RoundBegun:
    """A query was taken up."""

    round: Round


@dataclass(frozen=True)
class PromptRead:
    """What the model read for the round."""

    round_id: int
    prefill: Prefill


@dataclass(frozen=True)
class ReplyGrew:
    """The reply goes on."""

    round_id: int
    text: str


@dataclass(frozen=True)
class RoundEnded:
    """The reply has ended, in whatever way ``round.state`` says."""

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
    | ReplyGrew
    | RoundEnded
    | Trouble
)
