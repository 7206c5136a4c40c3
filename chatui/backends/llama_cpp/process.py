"""llama.cpp's process; it is started by the backend and speaks the engine's wire protocol."""

from __future__ import annotations

from chatui.engine.process import serve, take_over_standard_streams


def main() -> None:
    """Serve standard input until it ends."""
    pipe = take_over_standard_streams()
    pipe.start()
    # Imported after the reader has started: the parent may die while llama.cpp loads.
    from chatui.backends.llama_cpp.engine import LlamaCppEngine

    serve(pipe, LlamaCppEngine())  # type: ignore[arg-type]
