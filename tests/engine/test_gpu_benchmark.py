"""The GPU benchmark on a CPU with tiny shapes."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from chatui.engine import kernel_support

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


# Triton's interpreter, if it is installed, takes minutes on a busy machine.
@pytest.mark.timeout(900)
def test_the_gpu_benchmark_runs_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import gpu
    import gpu_models

    monkeypatch.setattr(kernel_support, "DEVICES", {"cuda"})
    gpu.main(["--dry", "--tokens", "4"])
    said = capsys.readouterr().out
    assert "CPU, dry: figures are meaningless" in said and "none (" not in said
    for family in gpu_models.FAMILIES:
        # On a CPU the two compared models are the same.
        (line,) = (line for line in said.splitlines() if f"{family}: fp32" in line)
        assert line.endswith("max |Δlogit| 0.0e+00, 32 of 32 tokens equal")
    figures = ("limit", "first query", "chatui greedy", "chatui sampled", "LoRA beside the weights")
    for shape in gpu_models.SHAPES:
        lines = [line for line in said.splitlines() if f"  {shape}: " in line]
        assert all(any(figure in line for line in lines) for figure in figures)
        references = [line for line in lines if "generate()" in line or "static cache" in line]
        assert len(references) == (0 if "ChatGLM" in shape else 2)
        run = find_spec("triton") is not None
        assert any("without its kernels" in line for line in lines) is run
        assert any(line.endswith("none") for line in lines) is not run
    assert "the embedded model on cpu" in said
