"""Train the embedded model: ``python -m training.train --minutes 90``.

The learning rate depends on the elapsed time: a short warm-up, a plateau, and a linear decay over
the last third. A checkpoint is written every few minutes; the same command continues from it, and
with more ``--minutes`` also after the end. At the end the weights are exported.

With ``torchrun`` each process has its own batches and the gradients are averaged. On a busy CPU one
process per core is much faster than one process with as many threads.
"""

import argparse
import os
import sys
import time

import torch
import torch.distributed as distributed
import torch.nn.functional as functional
from tqdm import tqdm
from transformers import GPT2LMHeadModel

from .examples import IGNORED, Batches, Encoder, training_library
from .model import export, new_model
from .paths import CHECKPOINT, MODEL

CHECKPOINT_SECONDS = 240
MUON_RATE, ADAM_RATE = 0.02, 0.003


def rate(progress: float) -> float:
    """Return the factor on the learning rate at ``progress`` (0 to 1) of the training time."""
    return min(progress / 0.01, 1.0, max((1.0 - progress) / 0.35, 0.01))


def optimizers(model: GPT2LMHeadModel) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks and AdamW for the rest (Jordan et al. 2024)."""
    matrices = [p for name, p in model.named_parameters() if ".h." in name and p.ndim == 2]
    others = [p for name, p in model.named_parameters() if ".h." not in name or p.ndim != 2]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def loss_of(
    model: GPT2LMHeadModel, ids: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the weighted mean cross entropy in nats; logits are computed only for targets."""
    learnt = targets != IGNORED
    device = ids.device.type
    with torch.autocast(device, torch.bfloat16):
        hidden = model.transformer(ids, use_cache=False).last_hidden_state[learnt]
        logits = hidden @ model.transformer.wte.weight.T
    losses = functional.cross_entropy(logits.float(), targets[learnt], reduction="none")
    return (losses * weights[learnt]).sum() / weights[learnt].sum()


def average_gradients(model: GPT2LMHeadModel, *values: float) -> list[float]:
    """Average the gradients and ``values`` over all processes; return the averaged values."""
    if not distributed.is_initialized():
        return list(values)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([torch.tensor(values), *(grad.flatten() for grad in gradients)])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    at = len(values)
    for grad in gradients:
        grad.copy_(flat[at : at + grad.numel()].view_as(grad))
        at += grad.numel()
    return flat[: len(values)].tolist()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=90, help="training time in total")
    parser.add_argument("--tokens", type=int, default=8192, help="token ids per batch and process")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-compile", action="store_true", help="run without torch.compile")
    return parser.parse_args()


def main() -> int:
    options = parse()
    rank, n = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = Encoder(MODEL)
    model = new_model(encoder).to(device)
    steps = optimizers(model)
    seconds, step = 0.0, 0
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT, map_location=device)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(steps, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        seconds, step = saved["seconds"], saved["step"]
    total = options.minutes * 60
    if seconds >= total:
        print("Training has already run that long; set more --minutes to continue.")
        return 0

    def save() -> None:
        part = CHECKPOINT.with_suffix(".part")
        states = [optimizer.state_dict() for optimizer in steps]
        torch.save(
            {"model": model.state_dict(), "optimizers": states, "seconds": seconds, "step": step},
            part,
        )
        part.replace(CHECKPOINT)

    if not options.no_compile:
        for block in model.transformer.h:
            block.compile(dynamic=True)
    batches = iter(
        Batches(encoder, training_library(encoder), seed=1000 * rank + step, tokens=options.tokens)
    )
    full = [[MUON_RATE], [ADAM_RATE]]
    mean, saved_at = 0.0, seconds
    bar = tqdm(total=round(total), initial=round(seconds), unit="s", disable=rank > 0)
    last = time.monotonic()
    while seconds < total:
        for optimizer, rates in zip(steps, full, strict=True):
            for group, peak in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = peak * rate(seconds / total)
        ids, targets, weights = (tensor.to(device) for tensor in next(batches))
        loss = loss_of(model, ids, targets, weights)
        loss.backward()
        now = time.monotonic()
        took, value = average_gradients(model, now - last, loss.item())
        last = now
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in steps:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        mean = value if mean == 0.0 else 0.98 * mean + 0.02 * value
        seconds += took
        bar.set_postfix(step=step, loss=f"{mean:.3f}", tokens_s=round(ids.numel() * n / took))
        bar.update(int(seconds) - bar.n)
        if rank == 0 and seconds - saved_at > CHECKPOINT_SECONDS:
            save()
            saved_at = seconds
    bar.close()
    if rank > 0:
        return 0
    save()
    export(model.state_dict(), encoder, MODEL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
