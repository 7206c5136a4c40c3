"""The training loop of a LoRA, with held-out loss and checkpoints, resumable after an interrupt."""

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
from chatui.engine.tuning.run_folder import RunFolder, uninterrupted
from chatui.engine.tuning.tuning_examples import TokenizedExample, TuningExamples
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec

_TOKENS_PER_PASS = 2048
_SAVE_SECONDS = 120.0
_WARM_UP_SHARE = 0.05
_MAX_HELD_OUT = 100
_MIN_EXAMPLES_FOR_HELD_OUT = 20
_MAX_GRADIENT_NORM = 1.0


@dataclass
class TuningState:
    """The state of a run.

    Attributes:
        step, steps: number of steps done, and of all steps.
        losses: mean loss over the learned tokens of each step, in nats.
        held_out: (step, loss) on held-out examples; empty if there are too few examples.
        tokens_per_second: speed since the run was started or resumed.
        seconds_left: estimated remaining time.
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
    show_note: Callable[[str], None] = lambda _: None,
) -> TuningState:
    """Train an adapter for ``spec`` on ``file`` and save it as the folder ``target``.

    An interrupted run is resumed from its last saved state if base, examples and options are the
    same. ``KeyboardInterrupt`` saves the state before it is raised again.

    Args:
        report: called with the state after each step.
        show_note: called with each note on the base for the user.

    Raises:
        ChatuiError: the base or the examples cannot be used, or ``target`` holds other files or
            cannot be written.
    """
    examples = TuningExamples(file)
    folder = RunFolder(target, _run_key(spec, file, options))
    folder.check()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    base, family, notes = load_base(spec)
    examples.check_vocabulary(shape_of(base.get_input_embeddings())[0])
    torch.manual_seed(options.seed)
    model = add_lora(base, family, options, spec.name)
    use_threads(parameter_count(base))
    for note in notes:
        show_note(note)
    return _TuningRun(model, family, examples, folder, options, report).run()


@dataclass
class _TuningRun:
    model: Any
    family: str
    examples: TuningExamples
    folder: RunFolder
    options: TuningOptions
    report: Callable[[TuningState], None]

    def __post_init__(self) -> None:
        examples, options = self.examples, self.options
        few = len(examples) < _MIN_EXAMPLES_FOR_HELD_OUT
        self._held_out = 0 if few else min(_MAX_HELD_OUT, len(examples) // 20)
        self._trained = len(examples) - self._held_out
        steps = math.ceil(self._trained * options.epochs / options.batch)
        self._state = TuningState(steps)
        self._weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(self._weights, lr=options.learning_rate, weight_decay=0)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._rate)
        self._device = self.model.get_input_embeddings().weight.device

    def run(self) -> TuningState:
        state = self._state
        self._resume()
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
        """Return the factor on the learning rate in step ``step``, counted from 0."""
        warm = max(1, round(_WARM_UP_SHARE * self._state.steps))
        return min((step + 1) / warm, (self._state.steps - step) / self._state.steps)

    def _one_step(self) -> int:
        """Train on the next batch; return the number of tokens read."""
        state = self._state
        # A resumed run gets the same dropout as an uninterrupted one.
        torch.manual_seed(self.options.seed + state.step)
        examples = [example for example in self._batch(state.step) if example.learned_count]
        learned = sum(example.learned_count for example in examples)
        total = 0.0
        self.model.train()
        for group in self._groups(examples):
            loss = self._loss(group) / learned
            torch.autograd.backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ChatuiError(say("tune.not_finite", step=state.step + 1))
        torch.nn.utils.clip_grad_norm_(self._weights, _MAX_GRADIENT_NORM)
        # An interrupt must not save the weights of a step that is not counted.
        with uninterrupted():
            self._optimizer.step()
            self._schedule.step()
            self._optimizer.zero_grad(set_to_none=True)
            state.step += 1
            state.losses.append(total)
        return sum(len(example.input_ids) for example in examples)

    def _batch(self, step: int) -> Iterator[TokenizedExample]:
        orders: dict[int, Tensor] = {}
        for count in range(step * self.options.batch, (step + 1) * self.options.batch):
            epoch, index = divmod(count, self._trained)
            if epoch < self.options.epochs:
                if epoch not in orders:
                    generator = torch.Generator().manual_seed(self.options.seed + epoch)
                    orders[epoch] = torch.randperm(self._trained, generator=generator)
                yield self.examples[int(orders[epoch][index])]

    def _groups(self, examples: Sequence[TokenizedExample]) -> Iterator[list[TokenizedExample]]:
        """Group examples of similar length for a forward pass that fits a small GPU."""
        group: list[TokenizedExample] = []
        for example in sorted(examples, key=lambda example: len(example.input_ids)):
            # ChatGLM-6B supports no padding in a batch.
            is_full = (len(group) + 1) * len(example.input_ids) > _TOKENS_PER_PASS
            if group and (is_full or self.family == "chatglm"):
                yield group
                group = []
            group.append(example)
        if group:
            yield group

    def _loss(self, group: Sequence[TokenizedExample]) -> Tensor:
        """Return the summed loss of all learned tokens, in nats."""
        ids = pad_sequence([example.input_ids for example in group], batch_first=True)
        labels = [example.labels for example in group]
        inputs: dict[str, Tensor] = {
            "input_ids": ids,
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        }
        if self.family != "chatglm":
            lengths = torch.tensor([len(example.input_ids) for example in group])
            inputs["attention_mask"] = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        inputs = {name: tensor.to(self._device) for name, tensor in inputs.items()}
        mean: Tensor = self.model(**inputs, use_cache=False).loss
        return mean * sum(example.learned_count for example in group)

    @torch.no_grad()
    def _measure_held_out(self) -> None:
        self.model.eval()
        held_out = (self.examples[index] for index in range(self._trained, len(self.examples)))
        examples = [example for example in held_out if example.learned_count]
        tokens = sum(example.learned_count for example in examples)
        total = sum(float(self._loss(group)) for group in self._groups(examples))
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

    def _resume(self) -> None:
        """Load the saved state of the same run, if there is one."""
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


def _run_key(spec: ModelSpec, file: Path, options: TuningOptions) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ChatuiError(say("conversation.file_unreadable", path=file, reason=error)) from error
    about = [digest.hexdigest(), spec.path, spec.weights, [asdict(each) for each in spec.adapters]]
    return hashlib.sha256(json.dumps([*about, asdict(options)]).encode()).hexdigest()
