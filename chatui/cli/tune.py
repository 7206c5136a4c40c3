"""``chatui tune``: train a LoRA adapter on training examples.

The training runs in this process: there is no screen to keep responsive.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from chatui import catalog, readable
from chatui.cli.exit_codes import SUCCESS, message_on_interrupt
from chatui.cli.output import write_line, write_stderr
from chatui.cli.progress import ProgressDisplay
from chatui.locales import say
from chatui.settings import load_settings

if TYPE_CHECKING:
    from chatui.engine.tuning.tuning_run import TuningState

_CURVE_CELLS = 24


def run(args: argparse.Namespace) -> int:
    settings = load_settings()
    spec = catalog.resolve(
        args.model or settings.model,
        settings,
        adapters=args.lora or (),
        device=args.device,
        dtype=args.dtype,
        weights=args.weights,
    )
    from chatui.engine.tuning.lora_base import TuningOptions
    from chatui.engine.tuning.tuning_run import tune

    # peft and transformers warn of normal conditions in the middle of the progress line.
    warnings.simplefilter("ignore")

    wanted = TuningOptions(
        rank=args.rank,
        alpha=float(args.alpha or 2 * args.rank),
        targets=tuple(filter(None, (args.targets or "").replace(" ", "").split(","))),
        learning_rate=args.learning_rate,
        batch=args.batch,
        epochs=args.epochs,
        seed=args.seed,
    )
    display, target = ProgressDisplay(sys.stderr), Path(args.output)

    def report(state: TuningState) -> None:
        display.update(state.step / state.steps, _progress_text(state))

    def stopped() -> str:
        return say("tune.stopped" if target.is_dir() else "tune.stopped_early", path=target)

    with message_on_interrupt(stopped):
        state = tune(spec, Path(args.file), target, wanted, report, write_stderr)
    tenth = max(1, len(state.losses) // 10)
    first, last = (sum(some) / tenth for some in (state.losses[:tenth], state.losses[-tenth:]))
    write_line(say("tune.done", steps=state.steps, first=f"{first:.3f}", last=f"{last:.3f}"))
    if len(state.held_out) > 1:
        (_, before), *_, (_, after) = state.held_out
        write_line(say("tune.held_out", before=f"{before:.3f}", after=f"{after:.3f}"))
    else:
        write_line(say("tune.no_held_out"))
    weights = f" --weights {args.weights}" if args.weights else ""
    write_line(say("tune.try", command=f"chatui --model {spec.name}{weights} --lora {target}"))
    return SUCCESS


def _progress_text(state: TuningState) -> str:
    """Return step, loss, loss curve, speed and remaining time as text."""
    losses = state.losses
    cells = min(_CURVE_CELLS, len(losses))
    bounds = [len(losses) * cell // cells for cell in range(cells + 1)]
    means = [sum(losses[start:stop]) / (stop - start) for start, stop in pairwise(bounds)]
    return say(
        "tune.progress",
        step=state.step,
        steps=state.steps,
        loss=f"{losses[-1]:.3f}",
        curve=readable.sparkline(means),
        speed=f"{state.tokens_per_second:.0f}",
        left=readable.duration(state.seconds_left),
    )
