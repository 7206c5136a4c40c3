"""From a request to the ids the model reads: format, window, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatui.engine.model import LoadedModel
from chatui.messages import GenerateRequest
from chatui.prompting.format import Exchange
from chatui.prompting.prompt_text import notes_of
from chatui.prompting.window import fit


@dataclass(frozen=True)
class Prompt:
    """What the model reads.

    Attributes:
        text: the rendered rounds.
        ids: its tokens.
        dropped_rounds: how many of the oldest rounds did not fit.
        notes: sentences the user should know about it.
    """

    text: str
    ids: tuple[int, ...]
    dropped_rounds: int
    notes: tuple[str, ...] = ()


def reply_reserve(model: LoadedModel, request: GenerateRequest) -> int:
    """Tokens that the prompt leaves free: the spec's, else up to 512 or a quarter of the window."""
    limit = model.context_limit
    reserve = model.spec.reply_reserve
    if reserve is None:
        reserve = min(512, limit // 4)
    wanted = request.sampling.max_new_tokens
    return max(1, reserve if wanted is None else min(reserve, wanted))


def build_prompt(model: LoadedModel, request: GenerateRequest) -> Prompt:
    """Render and tokenise as many rounds as fit.

    Raises:
        ChatuiError: the query does not fit even alone.
    """
    system = request.system if request.system is not None else model.spec.system
    render = model.format.renderer(request.think)

    def read(rounds: Sequence[Exchange]) -> tuple[str, list[int]]:
        text = render(rounds, request.query, system)
        return text, model.codec.encode(text)

    fitted = fit(
        request.history,
        lambda rounds: len(read(rounds)[1]),
        context_limit=model.context_limit,
        reply_reserve=reply_reserve(model, request),
    )
    text, ids = read(fitted.history)
    notes = notes_of(model.format, fitted.history, request, model.codec.special)
    return Prompt(str(text), tuple(ids), len(fitted.dropped), notes)
