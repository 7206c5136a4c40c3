"""Engine processes that fail: after each reply, or with their GPU."""

from __future__ import annotations

from typing import Any

import forked_engine


def serve() -> None:
    forked_engine.fork("failing_engine:serve_failing")


def serve_without_gpu() -> None:
    forked_engine.fork("failing_engine:serve_lost_gpu")


def serve_lost_gpu() -> None:
    """Raise CUDA's error at the sixth token."""
    import torch

    from chatui.engine import engine, process

    class LostGpuEngine(engine.Engine):
        def load(self, *args: Any) -> Any:
            loaded, steps = super().load(*args), iter(range(10**9))
            network = self._loaded().network
            step = network.step

            def fail(*token: Any) -> Any:
                if next(steps) == 5:
                    raise torch.AcceleratorError("CUDA error: an illegal memory access")
                return step(*token)

            network.step = fail  # type: ignore[method-assign]
            return loaded

    engine.Engine = LostGpuEngine  # type: ignore[misc]
    process.serve_torch()


def serve_failing() -> None:
    from chatui.engine import engine, process

    class FailingEngine(engine.Engine):
        def load(self, *args: Any) -> Any:
            loaded = super().load(*args)

            def fail(*_: Any) -> None:
                raise ValueError("the work after the reply failed")

            self._loaded().after_reply = fail
            return loaded

    engine.Engine = FailingEngine  # type: ignore[misc]
    process.serve_torch()
