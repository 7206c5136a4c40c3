"""``python -m chatui.engine`` is the engine's process; it is started by the local backend."""

from chatui.engine.server import main

if __name__ == "__main__":
    main()
