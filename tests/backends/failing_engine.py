"""An engine's process whose work after each reply fails."""

from __future__ import annotations

from typing import Any

import forked_engine


def serve() -> None:
    forked_engine.fork("failing_engine:serve_failing")


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
