"""What is said of the dtype that was chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chatui.engine.memory import Need
from chatui.engine.placement import Placement, place
from chatui.engine.weights import Entry
from chatui.messages import ModelSpec


def placed(floats: int) -> Placement:
    """A model of so many float16 numbers on a CPU with plenty of memory."""
    weights = Entry(Path("/m/model.safetensors"), "w", torch.float16, (floats,), 2 * floats)
    spec = ModelSpec("m", "/m", device="cpu")
    return place(spec, (weights,), Need(floats, 0, 0), freed=1 << 50)


@pytest.mark.parametrize(("floats", "told"), [(6_600_000, False), (300_000_000, True)])
def test_only_a_large_model_is_said_to_run_wider_than_it_is_stored(floats: int, told: bool) -> None:
    placement = placed(floats)
    assert placement.dtype == torch.float32
    assert bool(placement.notes) is told
