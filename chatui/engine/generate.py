"""A reply from a loaded model: the prompt, its prefill and the decode loop, for every network."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from chatui.engine.memory import is_out_of_memory, process_bytes
from chatui.engine.model import LoadedModel
from chatui.engine.penalties import ReplySoFar
from chatui.engine.token_choice import (
    apply_guard,
    best_candidates,
    chooser_for,
    finite_log_sum_exp,
)
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import (
    Candidate,
    Done,
    FinishReason,
    GenerateRequest,
    Inspection,
    Prefill,
    ReplyEvent,
    Token,
)
from chatui.prompting.format import Exchange, canned
from chatui.prompting.parts import opened_by
from chatui.prompting.prompt_text import LiteralText, joined, notes_of
from chatui.prompting.window import fit_prompt
from chatui.text import StopStrings


@dataclass(frozen=True)
class Prompt:
    """What the model reads.

    Attributes:
        text: the rendered rounds.
        ids: its tokens.
        begun: the text of a reply that goes on, as it stands behind ``text``.
        begun_ids: its tokens.
        dropped_rounds: how many of the oldest rounds did not fit.
        notes: sentences the user should know about it.
    """

    text: str
    ids: tuple[int, ...]
    dropped_rounds: int
    notes: tuple[str, ...] = ()
    begun: str = ""
    begun_ids: tuple[int, ...] = ()


def build_prompt(model: LoadedModel, request: GenerateRequest) -> Prompt:
    """Render and tokenise as many rounds as fit.

    Raises:
        ChatuiError: the query does not fit even alone, or the prompt is empty.
    """
    system = request.system if request.system is not None else model.spec.system
    render = model.format.renderer(request.think)

    def read(rounds: Sequence[Exchange]) -> tuple[str, list[int]]:
        text = render(rounds, request.query, system)
        return text, model.codec.encode(text)

    begun = ""
    begun_ids: tuple[int, ...] = ()
    if request.begun is not None:
        query = str(render((), request.query, system))
        begun, begun_ids = encode_begun_reply(model, request, query)
    fitted = fit_prompt(
        model.spec,
        request,
        request.limit(model.context_limit),
        read,
        lambda read: len(read[1]) + len(begun_ids),
    )
    text, ids = fitted.prompt
    if not ids:
        raise ChatuiError(say("engine.empty_prompt"))
    notes = notes_of(model.format, fitted.history, request, model.codec.special)
    return Prompt(str(text), tuple(ids), fitted.dropped_rounds, notes, begun, begun_ids)


def encode_begun_reply(
    model: LoadedModel, request: GenerateRequest, prompt: str
) -> tuple[str, tuple[int, ...]]:
    """The text and the tokens of the beginning that a reply goes on from.

    Args:
        prompt: of the query; what its end has written of the reply is not written again.
    """
    assert request.begun is not None
    text = request.begun.text.removeprefix(opened_by(prompt))
    if request.begun.ids or not text:
        return text, request.begun.ids
    text = model.format.begun(request.query, text)
    return text, tuple(
        model.codec.encode_reply(joined(LiteralText(text)) if model.format.literal else text)
    )


def generate(
    model: LoadedModel, request: GenerateRequest, stop_wanted: Callable[[], bool]
) -> Iterator[ReplyEvent]:
    """Answer ``request``: one ``Prefill``, the ``Token``s as they come, one ``Done``.

    Raises:
        ChatuiError: the query does not fit, a logit is NaN or infinite, or the memory is full.
    """
    began = time.monotonic()
    answer = model.format.answer_to(request.query)
    if answer is not None and request.begun is not None:
        raise ChatuiError(say("engine.nothing_to_go_on"))
    if answer is not None:
        yield from canned(answer, request.limit(model.context_limit))
        return
    free = model.format.is_free(request.query)
    settings = replace(request.sampling, newline_bias=request.sampling.newline_bias and not free)
    seed = secrets.randbits(32) if settings.seed is None else settings.seed
    prompt = build_prompt(model, request)
    read = (*prompt.ids, *prompt.begun_ids)
    # What reads a prompt in both directions must not read a reply so.
    at_once = read if model.network.reuses_prefix else prompt.ids
    cache, reused = model.prompt_cache.take(model.network, at_once)
    rows = model.network.position_rows(len(prompt.ids)) if read == prompt.ids else ()
    yield Prefill(
        prompt=prompt.text,
        prompt_tokens=len(read),
        reused_tokens=reused,
        context_limit=request.limit(model.context_limit),
        dropped_rounds=prompt.dropped_rounds,
        seed=seed,
        notes=prompt.notes,
        input_ids=read,
        tokens=tuple(map(model.codec.piece, read)),
        position_ids=rows if len(rows) > 1 else (),
        memory_bytes=process_bytes(),
    )

    most = settings.max_new_tokens
    if most is None and free:
        most = model.format.free_tokens
    room = request.limit(model.context_limit) - len(read)
    room = room if most is None else min(room, most)
    chosen = ReplySoFar(
        settings, prompt.ids, model.codec.encode, model.eos_ids, [*prompt.begun_ids]
    )
    output = chosen.output_ids
    choices = chooser_for(model, chosen, seed, cache, request.alternatives)
    shown = _ShownText(model, request, prompt)
    reason: FinishReason | None = None
    first_token_seconds = 0.0
    full = False
    logits = model.network.prefill(at_once, cache, stop_wanted)
    for token in read[len(at_once) :]:
        if logits is not None and not stop_wanted():
            logits = model.network.step(token, cache)
    if logits is not None:
        choices.begin(logits, -1 if request.begun is None else request.begun.next_id)
    while reason is None:
        if logits is None or stop_wanted():
            reason = "cancelled"
            rest = shown.finish()
            if rest:
                yield Token(rest)
            break
        token, logprob, best = choices.choose()
        text = "" if token in model.eos_ids else shown.add(token)
        if token in model.eos_ids:
            reason = "eos"
        elif shown.stopped:
            reason = "stop"
        elif len(output) - len(prompt.begun_ids) >= room:
            reason = "length"
        if reason in ("eos", "length"):
            text += shown.finish()
        first_token_seconds = first_token_seconds or time.monotonic() - began
        yield Token(text, token, logprob, best)
        if reason is None and not stop_wanted():
            try:
                choices.read(token)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                full = True
        if full:
            # The cache is dropped: nobody knows how much of the token it holds.
            rest = shown.finish()
            if rest:
                yield Token(rest)
            tokens = len(prompt.ids) + len(output)
            raise ChatuiError(say("engine.memory_full", tokens=tokens))
    choices.finish()
    held = [*prompt.ids, *output][: cache.get_seq_length()]
    model.prompt_cache.put(model.network, cache, held)
    reply = model.format.clean(request.query, shown.text)
    yield Done(
        text=reply,
        finish_reason=reason,
        output_ids=tuple(output),
        seed=seed,
        prompt_tokens=len(read),
        output_tokens=len(output) - len(prompt.begun_ids),
        first_token_seconds=first_token_seconds,
        total_seconds=time.monotonic() - began,
    )
    if model.after_reply is not None:
        model.after_reply(model, request, reply, stop_wanted)


def inspect(model: LoadedModel, request: GenerateRequest, top: int) -> Inspection:
    """The prompt of ``request`` in all its forms, and the ``top`` best next tokens.

    Raises:
        ChatuiError: the query does not fit, or a logit is NaN or infinite.
    """
    prompt = build_prompt(model, request)
    following: tuple[Candidate, ...] = ()
    if top > 0:
        cache, _ = model.prompt_cache.take(model.network, prompt.ids)
        logits = model.network.prefill(prompt.ids, cache, lambda: False)
        model.prompt_cache.put(model.network, cache, list(prompt.ids))
        assert logits is not None
        logits = apply_guard(model, logits)
        following = best_candidates(model, logits, finite_log_sum_exp(logits), top)
    return Inspection(
        prompt=prompt.text,
        input_ids=prompt.ids,
        tokens=tuple(model.codec.piece(id) for id in prompt.ids),
        position_ids=model.network.position_rows(len(prompt.ids)),
        context_used=len(prompt.ids),
        context_limit=model.context_limit,
        dropped_rounds=prompt.dropped_rounds,
        next=following,
        notes=prompt.notes,
    )


class _ShownText:
    """The text of a reply that may be shown: whole characters, and nothing of a stop string."""

    def __init__(self, model: LoadedModel, request: GenerateRequest, prompt: Prompt) -> None:
        self._detokenizer = model.codec.detokenizer()
        self._stops = StopStrings(
            (
                *request.stop_strings,
                *model.spec.stop_strings,
                *model.format.stops_for(request.query),
            )
        )
        self._texts = [prompt.begun]
        for token in prompt.begun_ids:
            # A character may be half there.
            self._detokenizer.add(token)

    @property
    def stopped(self) -> bool:
        """Whether a stop string is complete."""
        return self._stops.stopped

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._texts)

    def add(self, token: int) -> str:
        """The text that can be shown with this token."""
        text = self._stops.add(self._detokenizer.add(token))
        self._texts.append(text)
        return text

    def finish(self) -> str:
        """The text held back, once it is known that no token follows."""
        text = self._stops.add(self._detokenizer.flush()) + self._stops.flush()
        self._texts.append(text)
        return text
