"""``python -m chatui`` is the command ``chatui``."""

import sys

from chatui.cli import main

if __name__ == "__main__":
    sys.exit(main())
