"""``python -m chatui.engine``: the engine's process, started by the local backend."""

from chatui.engine.process import serve_torch

if __name__ == "__main__":
    serve_torch()
