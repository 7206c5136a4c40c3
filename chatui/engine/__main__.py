"""``python -m chatui.engine`` is the engine's process; the local backend starts it."""

from chatui.engine.process import serve_torch

if __name__ == "__main__":
    serve_torch()
