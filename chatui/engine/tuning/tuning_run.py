"""The training loop of a LoRA: steps, held-out loss, checkpoints; stopped and taken up at will."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.utils import logging

from chatui.engine.examples.training_example import IGNORED
from chatui.engine.quantised import parameter_count, shape_of
from chatui.engine.threads import use_threads
from chatui.engine.tuning.lora_base import TuningOptions, add_lora, load_base
from chatui.engine.tuning.run_folder import RunFolder
from chatui.engine.tuning.tuning_examples import TokenizedExample, TuningExamples
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec

_TOKENS_AT_ONCE = 2048
_SAVE_SECONDS = 120.0
_WARM_UP = 0.05
_MOST_HELD_OUT = 100
_FEWEST_FOR_HELD_OUT = 20
_LARGEST_GRADIENT = 1.0


@dataclass
class TuningState:
    """How far a run has come.

    Attributes:
        step, steps: done, and in all.
        losses: of each step, a mean over its learned tokens, in nats.
        held_out: (step, loss) on examples that are not trained on; empty if there are too few.
        tokens_per_second: read since the run was begun or taken up again.
        seconds_left: at that speed.
    """

    steps: int
    step: int = 0
    losses: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    tokens_per_second: float = 0.0
    seconds_left: float = 0.0


def tune(
    spec: ModelSpec,
    file: Path,
    target: Path,
    options: TuningOptions,
    report: Callable[[TuningState], None],
    tell: Callable[[str], None] = lambda _: None,
) -> TuningState:
    """Train an adapter for ``spec`` on ``file`` and save it as the folder ``target``.

    A run that was broken off is taken up where it was saved last if base, examples and options are
    the same. On ``KeyboardInterrupt`` what was learned so far is saved first.

    Args:
        report: is told how far it is after each step.
        tell: is given the sentences that the user should know of the base.

    Raises:
        ChatuiError: base or examples cannot be used, ``target`` is something else or cannot be
            written.
    """
    examples = TuningExamples(file)
    folder = RunFolder(target, _key(spec, file, options))
    folder.check()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    base, family, notes = load_base(spec)
    examples.check_labels()
    examples.check_vocabulary(shape_of(base.get_input_embeddings())[0])
    torch.manual_seed(options.seed)
    model = add_lora(base, family, options, spec.name)
    use_threads(parameter_count(base))
    for note in notes:
        tell(note)
    return _Run(model, family, examples, folder, options, report).go()


@dataclass
class _Run:
    model: Any
    family: str
    examples: TuningExamples
    folder: RunFolder
    options: TuningOptions
    report: Callable[[TuningState], None]

    def __post_init__(self) -> None:
        examples, options = self.examples, self.options
        few = len(examples) < _FEWEST_FOR_HELD_OUT
        self._held_out = 0 if few else min(_MOST_HELD_OUT, len(examples) // 20)
        self._trained = len(examples) - self._held_out
        steps = math.ceil(self._trained * options.epochs / options.batch)
        self._state = TuningState(steps)
        self._weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(self._weights, lr=options.learning_rate, weight_decay=0)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._rate)
        self._device = self.model.get_input_embeddings().weight.device

    def go(self) -> TuningState:
        state = self._state
        self._take_up()
        began = saved = time.monotonic()
        first, tokens = state.step, 0
        if not state.held_out:
            self._measure_held_out()
        try:
            while state.step < state.steps:
                tokens += self._one_step()
                seconds = time.monotonic() - began
                state.tokens_per_second = tokens / seconds
                state.seconds_left = seconds / (state.step - first) * (state.steps - state.step)
                if time.monotonic() - saved > _SAVE_SECONDS and state.step < state.steps:
                    self._measure_held_out()
                    self._save()
                    saved = time.monotonic()
                self.report(state)
        except KeyboardInterrupt:
            self._save()
            raise
        self._measure_held_out()
        self._save()
        return state

    def _rate(self, step: int) -> float:
        """Factor on the learning rate before step ``step``, counted from 0."""
        warm = max(1, round(_WARM_UP * self._state.steps))
        return min((step + 1) / warm, (self._state.steps - step) / self._state.steps)

    def _one_step(self) -> int:
        """Learn from the next batch; returns the tokens read."""
        state = self._state
        # Dropout too is the same when a run is taken up again.
        torch.manual_seed(self.options.seed + state.step)
        pairs = [pair for pair in self._batch(state.step) if pair.learned]
        learned = sum(pair.learned for pair in pairs)
        total = 0.0
        self.model.train()
        for group in self._groups(pairs):
            loss = self._loss(group) / learned
            torch.autograd.backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ChatuiError(say("tune.not_finite", step=state.step + 1))
        torch.nn.utils.clip_grad_norm_(self._weights, _LARGEST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.losses.append(total)
        return sum(len(pair.input_ids) for pair in pairs)

    def _batch(self, step: int) -> Iterator[TokenizedExample]:
        for place in range(step * self.options.batch, (step + 1) * self.options.batch):
            epoch, index = divmod(place, self._trained)
            if epoch < self.options.epochs:
                generator = torch.Generator().manual_seed(self.options.seed + epoch)
                order = torch.randperm(self._trained, generator=generator)
                yield self.examples[int(order[index])]

    def _groups(self, pairs: Sequence[TokenizedExample]) -> Iterator[list[TokenizedExample]]:
        """The examples that are read at once: as many as a small card holds."""
        group: list[TokenizedExample] = []
        for pair in sorted(pairs, key=lambda pair: len(pair.input_ids)):
            # ChatGLM-6B finds its positions and its mask in a single sequence.
            is_full = (len(group) + 1) * len(pair.input_ids) > _TOKENS_AT_ONCE
            if group and (is_full or self.family == "chatglm"):
                yield group
                group = []
            group.append(pair)
        if group:
            yield group

    def _loss(self, group: Sequence[TokenizedExample]) -> Tensor:
        """The sum of the losses of all learned tokens, in nats."""
        ids = pad_sequence([pair.input_ids for pair in group], batch_first=True)
        labels = [pair.labels for pair in group]
        inputs: dict[str, Tensor] = {
            "input_ids": ids,
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        }
        if self.family != "chatglm":
            lengths = torch.tensor([len(pair.input_ids) for pair in group])
            inputs["attention_mask"] = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        inputs = {name: tensor.to(self._device) for name, tensor in inputs.items()}
        mean: Tensor = self.model(**inputs, use_cache=False).loss
        return mean * sum(pair.learned for pair in group)

    @torch.no_grad()
    def _measure_held_out(self) -> None:
        self.model.eval()
        held_out = (self.examples[index] for index in range(self._trained, len(self.examples)))
        pairs = [pair for pair in held_out if pair.learned]
        tokens = sum(pair.learned for pair in pairs)
        total = sum(float(self._loss(group)) for group in self._groups(pairs))
        if tokens:
            self._state.held_out.append((self._state.step, total / tokens))

    def _save(self) -> None:
        saved = {
            "state": asdict(self._state),
            "weights": [weight.detach().cpu() for weight in self._weights],
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        self.folder.save(self.model, saved)

    def _take_up(self) -> None:
        """Go on from what an equal run saved, if there is any."""
        saved = self.folder.read()
        if saved is None:
            return
        with torch.no_grad():
            for weight, kept in zip(self._weights, saved["weights"], strict=True):
                weight.copy_(kept)
        self._optimizer.load_state_dict(saved["optimizer"])
        self._schedule.load_state_dict(saved["schedule"])
        values = saved["state"]
        values["held_out"] = [(step, loss) for step, loss in values["held_out"]]
        self._state.__dict__.update(values)


def _key(spec: ModelSpec, file: Path, options: TuningOptions) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ChatuiError(say("conversation.file_unreadable", path=file, reason=error)) from error
    about = [digest.hexdigest(), spec.path, spec.weights, [asdict(each) for each in spec.adapters]]
    return hashlib.sha256(json.dumps([*about, asdict(options)]).encode()).hexdigest()
