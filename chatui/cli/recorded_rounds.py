"""Recorded rounds of transcripts, and the requests to ask their queries again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chatui.backends.protocol import Backend
from chatui.conversation.compared_replies import ComparedReply
from chatui.conversation.continued_reply import partial_reply
from chatui.conversation.rounds import Piece, Round, Transcript
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
        file: name of the transcript file.
        path: rounds of the conversation, from the first to the head.
        number: position of the round in the path, from 1.
        pieces_by_round: recorded pieces of all rounds, by round id.
    """

    file: str
    path: Sequence[Round]
    number: int
    pieces_by_round: Mapping[int, Sequence[Piece]]

    @property
    def pieces(self) -> Sequence[Piece]:
        """The recorded pieces of the reply, with or without token ids."""
        return self.pieces_by_round.get(self.round.id, ())

    @property
    def round(self) -> Round:
        """The round."""
        return self.path[self.number - 1]

    @property
    def tokens(self) -> list[Piece]:
        """The pieces with known token ids, without those of the reply that this one continues."""
        return [piece for piece in self.pieces[self._begun_count :] if piece.token_id >= 0]

    @property
    def _begun_count(self) -> int:
        """Number of pieces that belong to the reply that this one continues."""
        return _whole_number(self.round.sampling.get("begun_pieces"), 0)

    @property
    def sampling(self) -> SamplingSettings:
        """The recorded sampling settings, with the seed."""
        one = self.round
        known = {
            name: value
            for name, value in one.sampling.items()
            if name in SETTINGS and SETTINGS[name].allows(value)
        }
        return override(SamplingSettings(), known | {"seed": one.seed})

    @property
    def is_repeatable(self) -> bool:
        """True if the same model should generate the same tokens again."""
        return bool(self.tokens) and (self.round.seed is not None or self.sampling.is_greedy)

    @property
    def recorded(self) -> ComparedReply:
        """The recorded reply."""
        one, tokens = self.round, self.tokens
        ids = tuple(piece.token_id for piece in tokens) or (-1,) * one.output_tokens
        texts = tuple(piece.text for piece in tokens)
        return ComparedReply(one.reply, ids, texts, one.seconds, one.error or "")

    @property
    def request(self) -> GenerateRequest:
        """The same query with the recorded history and the recorded seed, or seed 0.

        A reply that continued another one continues from the same tokens.
        """
        one, sampling = self.round, self.sampling
        if sampling.seed is None:
            sampling = replace(sampling, seed=0)
        if one.state != "done" and one.output_tokens:
            # The recorded reply was cut off; the rest of it is unknown.
            sampling = replace(sampling, max_new_tokens=len(self.tokens) or one.output_tokens)
        system, think, stops = (
            one.sampling.get(name) for name in ("system", "think", "stop_strings")
        )
        window = _whole_number(one.sampling.get("window"), 0)
        begun = None
        if self._begun_count:
            next_id = _whole_number(one.sampling.get("next_id"), -1)
            begun = partial_reply(self.pieces[: self._begun_count], next_id)
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
        """Ask the query; an error becomes part of the reply.

        Args:
            spec, loaded: the backend's model.

        Raises:
            BackendLost: the backend has lost its model.
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
                    # Reading the prompt does not count for the speed of the reply.
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
        """Return the request to score ``text`` as the reply."""
        return replace(self.request, partial_reply=PartialReply(text))


def _whole_number(value: object, otherwise: int) -> int:
    """Return ``value`` if it is a whole number from 0, else ``otherwise``."""
    is_one = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_one else otherwise  # type: ignore[return-value]


def rounds_of(transcripts: Mapping[str, Transcript]) -> list[RecordedRound]:
    """Return the rounds of each transcript, by file name, from the first to the head."""
    return [
        RecordedRound(file, path, number, whole.pieces)
        for file, whole in transcripts.items()
        for path in (whole.path(),)
        for number in range(1, len(path) + 1)
    ]
