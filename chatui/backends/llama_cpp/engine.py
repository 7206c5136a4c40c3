"""llama.cpp without its process: one GGUF file at a time, loaded, asked and inspected.

Imported in llama.cpp's own process alone.
"""

from __future__ import annotations

import codecs
import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chatui.backends.llama_cpp.formats import format_for
from chatui.backends.llama_cpp.model import GgufModel
from chatui.backends.llama_cpp.sampler import Sampler, not_available
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import (
    Candidate,
    Done,
    FinishReason,
    GenerateRequest,
    Inspection,
    Loaded,
    Loading,
    ModelSpec,
    Prefill,
    ReplyEvent,
    Token,
)
from chatui.prompting import window
from chatui.prompting.format import Exchange, PromptFormat, canned
from chatui.prompting.prompt_text import notes_of
from chatui.text import StopStrings


@dataclass(frozen=True)
class _Prompt:
    text: str
    ids: list[int]
    dropped_rounds: int
    notes: tuple[str, ...]


class LlamaCppEngine:
    """Holds the loaded model; has the methods of :class:`chatui.engine.engine.Engine`."""

    def __init__(self) -> None:
        self._model: GgufModel | None = None
        self._spec = ModelSpec("", "")
        self._format = PromptFormat("", lambda history, query, system: query)

    def load(self, spec: ModelSpec, report: Callable[[Loading], None]) -> Loaded:
        """Load ``spec`` in place of the model before, which stays if that fails.

        Raises:
            ChatuiError: the model cannot be loaded.
        """
        started = time.monotonic()
        path = Path(spec.path)
        if spec.adapters:
            raise ChatuiError(say("backends.llama.no_adapters", path=path))
        size = path.stat().st_size if path.is_file() else 0
        report(Loading(say("backends.llama.stage"), 0, size))
        model = GgufModel(path, spec.context_limit, spec.device == "cpu")
        try:
            format = format_for(spec, model)
        except ChatuiError:
            model.close()
            raise
        report(Loading(say("backends.llama.stage"), size, size))
        before, self._model = self._model, model
        self._spec, self._format = spec, format
        if before is not None:
            before.close()
        return Loaded(
            name=spec.name,
            family=model.architecture,
            format=format.name,
            context_limit=model.context_limit,
            device="gpu" if model.on_gpu else "cpu",
            dtype="gguf",
            parameters=model.parameters,
            weight_bytes=model.weight_bytes,
            load_seconds=time.monotonic() - started,
            can_switch_thinking=format.thinking is not None,
            notes=_load_notes(spec, model),
        )

    def generate(
        self, request: GenerateRequest, stop_wanted: Callable[[], bool]
    ) -> Iterator[ReplyEvent]:
        """Answer ``request``: one ``Prefill``, the ``Token``s as they come, one ``Done``.

        Raises:
            ChatuiError: no model is loaded, or the query does not fit.
        """
        began = time.monotonic()
        model = self._loaded()
        settings = request.sampling
        answer = self._format.answer_to(request.query)
        if answer is not None:
            yield from canned(answer, model.context_limit)
            return
        prompt = self._prompt(model, request)
        seed = secrets.randbits(32) if settings.seed is None else settings.seed % 2**64
        reused = model.read_prompt(prompt.ids, stop_wanted)
        yield Prefill(
            prompt=prompt.text,
            prompt_tokens=len(prompt.ids),
            reused_tokens=reused or 0,
            context_limit=model.context_limit,
            dropped_rounds=prompt.dropped_rounds,
            seed=seed,
            notes=prompt.notes,
        )
        room = model.context_limit - len(prompt.ids)
        most = settings.max_new_tokens
        if most is None and self._format.is_free(request.query):
            most = self._format.free_tokens
        room = room if most is None else min(room, most)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        stops = StopStrings(
            (
                *request.stop_strings,
                *self._spec.stop_strings,
                *self._format.stops_for(request.query),
            )
        )
        sampler = Sampler(settings, prompt.ids, seed)
        scratch = np.empty(model.vocabulary_size, np.float32)
        strip = model.puts_space_first
        output: list[int] = []
        texts: list[str] = []
        first_seconds = 0.0
        reason: FinishReason | None = "cancelled" if reused is None else None
        if reason is None and room <= 0:
            reason = "length"
        while reason is None:
            if stop_wanted():
                reason = "cancelled"
                break
            logits = model.logits()
            total = log_total(logits, scratch)
            token = sampler.choose(logits)
            output.append(token)
            if token in self._spec.eos_ids or model.is_end(token):
                reason, text = "eos", ""
            else:
                text = decoder.decode(model.piece(token))
                if strip and text:
                    text, strip = text.removeprefix(" "), False
                text = stops.add(text)
                if stops.stopped:
                    reason = "stop"
                elif len(output) >= room:
                    reason = "length"
            if reason in ("eos", "length"):
                text += stops.add(decoder.decode(b"", final=True)) + stops.flush()
            texts.append(text)
            first_seconds = first_seconds or time.monotonic() - began
            best = _candidates(model, logits, total, request.alternatives)
            yield Token(text, token, float(logits[token]) - total, best)
            if reason is None and not stop_wanted():
                model.read_token(token)
        if reason == "cancelled":
            rest = stops.add(decoder.decode(b"", final=True)) + stops.flush()
            if rest:
                texts.append(rest)
                yield Token(rest)
        yield Done(
            text=self._format.clean(request.query, "".join(texts)),
            finish_reason=reason,
            output_ids=tuple(output),
            seed=seed,
            prompt_tokens=len(prompt.ids),
            output_tokens=len(output),
            first_token_seconds=first_seconds,
            total_seconds=time.monotonic() - began,
        )

    def inspect(self, request: GenerateRequest, top: int) -> Inspection:
        """The prompt of ``request`` in all its forms, and the ``top`` best next tokens.

        Raises:
            ChatuiError: no model is loaded, or the query does not fit.
        """
        model = self._loaded()
        prompt = self._prompt(model, request)
        model.read_prompt(prompt.ids, lambda: False)
        logits = model.logits()
        total = log_total(logits, np.empty_like(logits))
        return Inspection(
            prompt=prompt.text,
            input_ids=tuple(prompt.ids),
            tokens=tuple(model.spelling(token) for token in prompt.ids),
            position_ids=(tuple(range(len(prompt.ids))),),
            context_used=len(prompt.ids),
            context_limit=model.context_limit,
            dropped_rounds=prompt.dropped_rounds,
            next=_candidates(model, logits, total, top),
            notes=prompt.notes,
        )

    def _loaded(self) -> GgufModel:
        if self._model is None:
            raise ChatuiError(say("engine.no_model"))
        return self._model

    def _prompt(self, model: GgufModel, request: GenerateRequest) -> _Prompt:
        """As many rounds as fit, rendered and tokenised."""
        system = self._spec.system if request.system is None else request.system
        render = self._format.renderer(request.think)

        def read(history: Sequence[Exchange]) -> tuple[str, list[int]]:
            text = render(history, request.query, system)
            return text, model.encode(text)

        fitted = window.fit(
            request.history,
            lambda history: len(read(history)[1]),
            context_limit=model.context_limit,
            reply_reserve=window.reply_reserve(self._spec, request, model.context_limit),
        )
        text, ids = read(fitted.history)
        if not ids:
            raise ChatuiError(say("engine.empty_prompt"))
        notes = notes_of(self._format, fitted.history, request, model.special)
        return _Prompt(str(text), ids, len(fitted.dropped), notes)


def log_total(logits: npt.NDArray[np.float32], scratch: npt.NDArray[np.float32]) -> float:
    """log Σ exp of all logits; ``scratch`` is room of the same size.

    Raises:
        ChatuiError: a logit is NaN or infinite.
    """
    highest = float(logits.max())
    np.subtract(logits, highest, out=scratch)
    np.exp(scratch, out=scratch)
    total = highest + math.log(float(scratch.sum()) or 1.0)
    if not math.isfinite(total):
        raise ChatuiError(say("engine.not_finite"))
    return total


def _candidates(
    model: GgufModel, logits: npt.NDArray[np.float32], total: float, count: int
) -> tuple[Candidate, ...]:
    """The ``count`` best tokens, best first, with their share of all probability."""
    if count <= 0:
        return ()
    count = min(count, len(logits))
    best = np.argpartition(-logits, count - 1)[:count]
    ranked = best[np.argsort(-logits[best], kind="stable")]
    return tuple(
        Candidate(token, model.spelling(token), logit, math.exp(logit - total))
        for token, logit in zip(ranked.tolist(), logits[ranked].tolist(), strict=True)
    )


def _load_notes(spec: ModelSpec, model: GgufModel) -> tuple[str, ...]:
    notes = list(spec.notes)
    if spec.context_limit is None and model.context_limit < model.trained_limit:
        limit, trained = model.context_limit, model.trained_limit
        notes.append(say("backends.llama.limit_cut", limit=limit, trained=trained))
    missing = not_available(spec.sampling)
    if missing:
        notes.append(say("backends.llama.settings_missing", names=", ".join(missing)))
    return tuple(notes)
