"""Generation, inspection and scoring of a reply, for every network."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chatui.engine.memory import is_out_of_memory, process_bytes
from chatui.engine.model import LoadedModel
from chatui.engine.penalties import ReplySoFar
from chatui.engine.token_choice import (
    HostChooser,
    apply_guard,
    best_candidates,
    chooser_class,
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
    Scored,
    Token,
)
from chatui.prompting.format import Exchange, fixed_reply
from chatui.prompting.parts import thought_opening
from chatui.prompting.prompt_text import LiteralText, joined, prompt_notes
from chatui.prompting.window import fit_prompt
from chatui.text import StopStrings

if TYPE_CHECKING:
    from torch import Tensor

_SCORED_AT_ONCE = 128
"""Tokens whose logits are in memory at once: 78 MB for a vocabulary of 152,000."""


@dataclass(frozen=True)
class Prompt:
    """The tokens that the model reads before it generates.

    Attributes:
        text: the rendered rounds.
        ids: its tokens.
        dropped_rounds: number of the oldest rounds left out to fit the context window.
        notes: sentences for the user about the prompt.
        begun: the beginning of a reply that is continued, as it follows ``text``.
        begun_ids: its tokens.
    """

    text: str
    ids: tuple[int, ...]
    dropped_rounds: int
    notes: tuple[str, ...] = ()
    begun: str = ""
    begun_ids: tuple[int, ...] = ()


def build_prompt(model: LoadedModel, request: GenerateRequest) -> Prompt:
    """Render and encode the query with as many rounds as fit.

    Raises:
        ChatuiError: the query alone does not fit, or the prompt is empty.
    """
    system = request.system if request.system is not None else model.spec.system
    render = model.format.renderer(request.think)

    def encode(rounds: Sequence[Exchange]) -> tuple[str, list[int]]:
        text = render(rounds, request.query, system)
        return text, model.codec.encode(text)

    begun = ""
    begun_ids: tuple[int, ...] = ()
    if (partial := request.partial_reply) is not None:
        # The prompt may already contain the opening of the thoughts.
        query = str(render((), request.query, system))
        begun, begun_ids = partial.text.removeprefix(thought_opening(query)), partial.ids
        if begun and not begun_ids:
            begun = model.format.reply_start(request.query, begun)
            literal = joined(LiteralText(begun)) if model.format.literal else begun
            begun_ids = tuple(model.codec.encode_reply(literal))
    fitted = fit_prompt(
        model.spec,
        request,
        request.limit(model.context_limit),
        encode,
        lambda encoded: len(encoded[1]) + len(begun_ids),
    )
    text, ids = fitted.prompt
    if not ids:
        raise ChatuiError(say("engine.empty_prompt"))
    notes = prompt_notes(model.format, fitted.history, request, model.codec.special)
    return Prompt(str(text), tuple(ids), fitted.dropped_rounds, notes, begun, begun_ids)


def generate(
    model: LoadedModel, request: GenerateRequest, stop_wanted: Callable[[], bool]
) -> Iterator[ReplyEvent]:
    """Generate a reply: one ``Prefill``, ``Token`` events, one ``Done``.

    Raises:
        ChatuiError: the query does not fit, a logit is NaN or infinite, or memory runs out.
    """
    began = time.monotonic()
    limit = request.limit(model.context_limit)
    answer = model.format.answer_to(request.query)
    if answer is not None and request.partial_reply is not None:
        raise ChatuiError(say("engine.nothing_to_continue"))
    if answer is not None:
        yield from fixed_reply(answer, limit)
        return
    free = model.format.is_free_text(request.query)
    settings = replace(request.sampling, newline_bias=request.sampling.newline_bias and not free)
    seed = secrets.randbits(32) if settings.seed is None else settings.seed
    prompt = build_prompt(model, request)
    read = (*prompt.ids, *prompt.begun_ids)
    # Networks that read a prompt in both directions read a begun reply token by token.
    at_once = read if model.network.reuses_prefix else prompt.ids
    cache, reused = model.prompt_cache.take(model.network, at_once)
    rows = model.network.position_rows(len(prompt.ids)) if read == prompt.ids else ()
    yield Prefill(
        prompt=prompt.text,
        prompt_tokens=len(read),
        reused_tokens=reused,
        context_limit=limit,
        dropped_rounds=prompt.dropped_rounds,
        seed=seed,
        notes=prompt.notes,
        input_ids=read,
        tokens=tuple(map(model.codec.piece, read)),
        position_ids=rows if len(rows) > 1 else (),
        memory_bytes=process_bytes(),
    )

    max_new_tokens = settings.max_new_tokens
    if max_new_tokens is None and free:
        max_new_tokens = model.format.free_text_tokens
    room = limit - len(read)
    room = room if max_new_tokens is None else min(room, max_new_tokens)
    reply = ReplySoFar(settings, prompt.ids, model.codec.encode, model.eos_ids, [*prompt.begun_ids])
    output = reply.output_ids
    detokenizer = model.codec.detokenizer()
    for token in prompt.begun_ids:
        # The beginning may end within a character.
        detokenizer.add(token)
    own_stops = (*model.spec.stop_strings, *model.format.stops_for(request.query))
    stops = StopStrings((*request.stop_strings, *own_stops))
    texts = [prompt.begun]

    def rest() -> str:
        texts.append(stops.add(detokenizer.flush()) + stops.flush())
        return texts[-1]

    reason: FinishReason | None = None
    first_token_seconds = 0.0
    chooser: HostChooser | None = None
    logits = model.network.prefill(at_once, cache, stop_wanted)
    for token in read[len(at_once) :]:
        if logits is not None and not stop_wanted():
            logits = model.network.step(token, cache)
    if logits is not None:
        chooser = chooser_class(model, reply)(model, request, reply, seed, cache, logits)
    while reason is None:
        if chooser is None or stop_wanted():
            reason = "cancelled"
            if text := rest():
                yield Token(text)
            break
        token, logprob, best = chooser.choose()
        if token in model.eos_ids:
            reason = "eos"
        else:
            texts.append(stops.add(detokenizer.add(token)))
            if stops.stopped:
                reason = "stop"
            elif len(output) - len(prompt.begun_ids) >= room:
                reason = "length"
        text = "" if reason == "eos" else texts[-1]
        if reason in ("eos", "length"):
            text += rest()
        first_token_seconds = first_token_seconds or time.monotonic() - began
        yield Token(text, token, logprob, best)
        if reason is None and not stop_wanted():
            try:
                chooser.read(token)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                # The cache is discarded: it may hold a part of the token.
                if text := rest():
                    yield Token(text)
                tokens = len(prompt.ids) + len(output)
                raise ChatuiError(say("engine.memory_full", tokens=tokens)) from error
    if chooser is not None:
        chooser.finish()
    kept_ids = [*prompt.ids, *output][: cache.get_seq_length()]
    model.prompt_cache.put(model.network, cache, kept_ids)
    reply_text = model.format.clean(request.query, "".join(texts))
    yield Done(
        text=reply_text,
        finish_reason=reason,
        output_ids=tuple(output),
        seed=seed,
        prompt_tokens=len(read),
        output_tokens=len(output) - len(prompt.begun_ids),
        first_token_seconds=first_token_seconds,
        total_seconds=time.monotonic() - began,
    )
    if model.after_reply is not None:
        model.after_reply(model, request, reply_text, stop_wanted)


def inspect(model: LoadedModel, request: GenerateRequest, top: int) -> Inspection:
    """Return the prompt of ``request`` in all its forms, and the ``top`` most probable next tokens.

    Raises:
        ChatuiError: the query does not fit, or a logit is NaN or infinite.
    """
    prompt = build_prompt(model, request)
    best: tuple[Candidate, ...] = ()
    if top > 0:
        cache, _ = model.prompt_cache.take(model.network, prompt.ids)
        logits = model.network.prefill(prompt.ids, cache, lambda: False)
        model.prompt_cache.put(model.network, cache, list(prompt.ids))
        assert logits is not None
        logits = apply_guard(model, logits)
        best = best_candidates(model, logits, finite_log_sum_exp(logits), top)
    return Inspection(
        prompt=prompt.text,
        input_ids=prompt.ids,
        tokens=tuple(model.codec.piece(id) for id in prompt.ids),
        position_ids=model.network.position_rows(len(prompt.ids)),
        context_used=len(prompt.ids),
        context_limit=model.context_limit,
        dropped_rounds=prompt.dropped_rounds,
        next=best,
        notes=prompt.notes,
    )


def score(model: LoadedModel, request: GenerateRequest, stop_wanted: Callable[[], bool]) -> Scored:
    """Return the log probability of each token of ``partial_reply.text``, given all before it.

    The reply is encoded without an EOS token, after the same prompt that ``generate`` reads.

    Raises:
        ChatuiError: prompt and reply do not fit, it was stopped, or a logit is NaN or infinite.
    """
    prompt = build_prompt(model, request)
    cache, _ = model.prompt_cache.take(model.network, prompt.ids)
    logits = model.network.prefill(prompt.ids, cache, stop_wanted)
    # Copied, because logits are only valid until the next read.
    logits = None if logits is None else logits.clone()
    log_probabilities = []
    for start in range(0, len(prompt.begun_ids), _SCORED_AT_ONCE):
        if logits is None or stop_wanted():
            raise ChatuiError(say("engine.score_stopped"))
        ids = prompt.begun_ids[start : start + _SCORED_AT_ONCE]
        for id, after in zip(ids, _logits_after(model.network, ids, cache), strict=True):
            logits = apply_guard(model, logits)
            log_probabilities.append(float(logits[id]) - finite_log_sum_exp(logits))
            logits = after
    model.prompt_cache.put(model.network, cache, [*prompt.ids, *prompt.begun_ids])
    return Scored(tuple(log_probabilities))


def _logits_after(network: Any, ids: Sequence[int], cache: Any) -> Iterator[Tensor]:
    """Yield the logits after each token, all read at once if the network can."""
    if hasattr(network, "read_reply"):
        yield from network.read_reply(ids, cache)
    else:
        yield from (network.step(id, cache).clone() for id in ids)
