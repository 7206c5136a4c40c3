"""From a request to the ids the model reads: format, window, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatui.engine.model import LoadedModel
from chatui.messages import GenerateRequest
from chatui.prompting.format import Exchange
from chatui.prompting.prompt_text import notes_of
from chatui.prompting.window import fit_prompt


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

    fitted = fit_prompt(model.spec, request, model.context_limit, read, lambda read: len(read[1]))
    text, ids = fitted.prompt
    notes = notes_of(model.format, fitted.history, request, model.codec.special)
    return Prompt(str(text), tuple(ids), fitted.dropped_rounds, notes)
