"""Rounds of transcripts that are asked again: which model, which request, and what comes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chatui.backends.protocol import Backend
from chatui.conversation.compared_replies import ComparedReply
from chatui.conversation.continued_reply import partial_reply
from chatui.conversation.rounds import Piece, Round
from chatui.conversation.transcript import Transcript
from chatui.errors import BackendLost, ChatuiError
from chatui.messages import (
    Done,
    GenerateRequest,
    Loaded,
    ModelSpec,
    PartialReply,
    Prefill,
    Token,
)
from chatui.prompting.parts import prompt_history, thought_opening
from chatui.sampling import SETTINGS, SamplingSettings, override
from chatui.tui.model_names import reply_author


@dataclass(frozen=True)
class RecordedRound:
    """A round of a transcript.

    Attributes:
        file: the transcript's name.
        path: the rounds of its conversation, from the first to the head.
        number: the round's, from 1.
        known: the pieces of all rounds, by their ids.
    """

    file: str
    path: Sequence[Round]
    number: int
    known: Mapping[int, Sequence[Piece]]

    @property
    def pieces(self) -> Sequence[Piece]:
        """What was recorded of its reply, with or without ids."""
        return self.known.get(self.round.id, ())

    @property
    def round(self) -> Round:
        """The round itself."""
        return self.path[self.number - 1]

    @property
    def tokens(self) -> list[Piece]:
        """The pieces that the model wrote for this very round, as tokens whose ids are known."""
        return [piece for piece in self.pieces[self._begun :] if piece.token_id >= 0]

    @property
    def _begun(self) -> int:
        """How many pieces are those of a reply that this one went on from."""
        return _whole_number(self.round.sampling.get("begun_pieces"), 0)

    @property
    def sampling(self) -> SamplingSettings:
        """As it was recorded, with the seed."""
        one = self.round
        known = {
            name: value
            for name, value in one.sampling.items()
            if name in SETTINGS and SETTINGS[name].allows(value)
        }
        return override(SamplingSettings(), known | {"seed": one.seed})

    @property
    def is_repeatable(self) -> bool:
        """Whether the same model would have to say the same."""
        return bool(self.tokens) and (self.round.seed is not None or self.sampling.is_greedy)

    @property
    def recorded(self) -> ComparedReply:
        """The reply that was recorded."""
        one, tokens = self.round, self.tokens
        ids = tuple(piece.token_id for piece in tokens) or (-1,) * one.output_tokens
        texts = tuple(piece.text for piece in tokens)
        return ComparedReply(one.reply, ids, texts, one.seconds, one.error or "")

    @property
    def request(self) -> GenerateRequest:
        """The same query on the history that was recorded; without a seed the seed is 0.

        A reply that went on from another one goes on from the same tokens.
        """
        one, sampling = self.round, self.sampling
        if sampling.seed is None:
            sampling = replace(sampling, seed=0)
        if one.state != "done" and one.output_tokens:
            # It was cut off: what would have followed is not known.
            sampling = replace(sampling, max_new_tokens=len(self.tokens) or one.output_tokens)
        system, think, stops = (
            one.sampling.get(name) for name in ("system", "think", "stop_strings")
        )
        window = _whole_number(one.sampling.get("window"), 0)
        begun = None
        if self._begun:
            next_id = _whole_number(one.sampling.get("next_id"), -1)
            begun = partial_reply(self.pieces[: self._begun], next_id)
        return GenerateRequest(
            one.query,
            prompt_history((each.query, each.reply) for each in self.path[: self.number - 1]),
            system=system if isinstance(system, str) else None,
            sampling=sampling,
            stop_strings=tuple(map(str, stops)) if isinstance(stops, list) else (),
            think=think if isinstance(think, bool) else None,
            partial_reply=begun,
            window=window if window > 0 else None,
        )

    async def ask(self, backend: Backend, spec: ModelSpec, loaded: Loaded) -> ComparedReply:
        """Let a model answer; what goes wrong is part of the reply, unless the model is gone.

        Args:
            spec, loaded: the backend's model; another one than was recorded has other tokens.

        Raises:
            BackendLost: the model is gone.
        """
        ids: list[int] = []
        pieces: list[str] = []
        opening, text, error = "", "", ""
        began = time.monotonic()
        request = self.request
        is_same = (self.round.model, self.round.format) == (
            reply_author(spec, loaded),
            loaded.format,
        )
        if request.partial_reply is not None and not is_same:
            request = replace(request, partial_reply=PartialReply(request.partial_reply.text))
        try:
            async for event in backend.generate(request):
                if isinstance(event, Prefill):
                    # The reply's speed, without the prompt's.
                    opening, began = thought_opening(event.prompt), time.monotonic()
                elif isinstance(event, Token):
                    ids.append(event.id)
                    pieces.append(event.text)
                elif isinstance(event, Done):
                    text = event.text and opening + event.text
        except BackendLost:
            raise
        except ChatuiError as problem:
            begun = request.partial_reply.text if request.partial_reply else ""
            text, error = begun + "".join(pieces), str(problem)
        return ComparedReply(text, tuple(ids), tuple(pieces), time.monotonic() - began, error)

    def with_reply(self, text: str) -> GenerateRequest:
        """The request for a model to read ``text`` as the reply."""
        return replace(self.request, partial_reply=PartialReply(text))


def _whole_number(value: object, otherwise: int) -> int:
    """``value``, if a file has a whole number from 0 on in its place."""
    is_one = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_one else otherwise  # type: ignore[return-value]


def rounds_of(file: str, whole: Transcript) -> list[RecordedRound]:
    """The rounds from the first to the head."""
    path = whole.path()
    return [RecordedRound(file, path, number, whole.pieces) for number in range(1, len(path) + 1)]
