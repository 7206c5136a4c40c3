"""Recorded rounds of transcripts, and the requests to ask their queries again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import msgspec
from msgspec import Meta

from chatui.backends.protocol import Backend
from chatui.conversation.compared_replies import ComparedReply
from chatui.conversation.continued_reply import partial_reply
from chatui.conversation.rounds import Piece, Round, Transcript
from chatui.errors import BackendLost, ChatuiError
from chatui.messages import GenerateRequest, Loaded, ModelSpec, PartialReply, Prefill, Token
from chatui.prompting.parts import prompt_history, thought_opening
from chatui.sampling import SETTINGS, SamplingSettings, override
from chatui.tui.model_names import reply_author


class _Options(msgspec.Struct):
    """The request's fields that a round records with its sampling, and the reply it continues.

    Attributes:
        begun_pieces: number of pieces that belong to the reply that this one continues.
        next_id: the token that the user chose after them; -1 if none.
    """

    system: str | None = None
    think: bool | None = None
    stop_strings: tuple[str, ...] = ()
    window: Annotated[int, Meta(gt=0)] | None = None
    begun_pieces: Annotated[int, Meta(ge=0)] = 0
    next_id: int = -1


@dataclass(frozen=True)
class RecordedRound:
    """A round of a transcript.

    Attributes:
        file: name of the transcript file.
        path: rounds of the conversation, from the first to the head.
        number: position of the round in the path, from 1.
        pieces: the recorded pieces of its reply, with or without token ids.
    """

    file: str
    path: Sequence[Round]
    number: int
    pieces: Sequence[Piece]

    @property
    def round(self) -> Round:
        """The round."""
        return self.path[self.number - 1]

    @cached_property
    def _options(self) -> _Options:
        try:
            return msgspec.convert(dict(self.round.sampling), _Options)
        except msgspec.ValidationError:
            return _Options()

    @property
    def tokens(self) -> list[Piece]:
        """The pieces with known token ids, without those of the reply that this one continues."""
        return [piece for piece in self.pieces[self._options.begun_pieces :] if piece.token_id >= 0]

    @property
    def sampling(self) -> SamplingSettings:
        """The recorded sampling settings, with the seed."""
        known = {
            name: value
            for name, value in self.round.sampling.items()
            if name in SETTINGS and SETTINGS[name].allows(value)
        }
        return override(SamplingSettings(), known | {"seed": self.round.seed})

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
        one, sampling, options = self.round, self.sampling, self._options
        if sampling.seed is None:
            sampling = replace(sampling, seed=0)
        if one.state != "done" and one.output_tokens:
            # The recorded reply was cut off; the rest of it is unknown.
            sampling = replace(sampling, max_new_tokens=len(self.tokens) or one.output_tokens)
        begun = self.pieces[: options.begun_pieces]
        return GenerateRequest(
            one.query,
            prompt_history((each.query, each.reply) for each in self.path[: self.number - 1]),
            system=options.system,
            sampling=sampling,
            stop_strings=options.stop_strings,
            think=options.think,
            partial_reply=partial_reply(begun, options.next_id) if begun else None,
            window=options.window,
        )

    async def ask(self, backend: Backend, spec: ModelSpec, loaded: Loaded) -> ComparedReply:
        """Ask the query; an error becomes part of the reply.

        Args:
            spec, loaded: the backend's model.

        Raises:
            BackendLost: the backend has lost its model.
        """
        tokens: list[Token] = []
        opening, text, error = "", "", ""
        began = time.monotonic()
        request = self.request
        begun = request.partial_reply
        is_same = self.round.model == reply_author(spec, loaded)
        if begun is not None and not (is_same and self.round.format == loaded.format):
            request = replace(request, partial_reply=PartialReply(begun.text))
        try:
            async for event in backend.generate(request):
                if isinstance(event, Prefill):
                    # Reading the prompt does not count for the speed of the reply.
                    opening, began = thought_opening(event.prompt), time.monotonic()
                elif isinstance(event, Token):
                    tokens.append(event)
                else:
                    text = event.text and opening + event.text
        except BackendLost:
            raise
        except ChatuiError as problem:
            error = str(problem)
            text = (begun.text if begun else "") + "".join(token.text for token in tokens)
        seconds = time.monotonic() - began
        ids, texts = tuple(token.id for token in tokens), tuple(token.text for token in tokens)
        return ComparedReply(text, ids, texts, seconds, error)

    def with_reply(self, text: str) -> GenerateRequest:
        """Return the request to score ``text`` as the reply."""
        return replace(self.request, partial_reply=PartialReply(text))


def rounds_of(transcripts: Mapping[str, Transcript]) -> list[RecordedRound]:
    """Return the rounds of each transcript, by file name, from the first to the head."""
    return [
        RecordedRound(file, path, number, whole.pieces.get(one.id, ()))
        for file, whole in transcripts.items()
        for path in (whole.path(),)
        for number, one in enumerate(path, 1)
    ]
