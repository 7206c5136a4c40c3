"""Paths of the files and folders that chatui uses."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import platformdirs


def expanded(path: str) -> Path:
    """Expand "~" in a path, unless it names an unknown user."""
    # A file name cannot contain NUL; using one would raise ValueError.
    path = path.replace("\0", "\N{REPLACEMENT CHARACTER}")
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def _home() -> Path | None:
    """Return the folder in CHATUI_HOME, which replaces the platform's folders."""
    value = os.environ.get("CHATUI_HOME", "").strip()
    return expanded(value).absolute() if value else None


def config_folder() -> Path:
    """Return the folder of the settings and the user's presets."""
    home = _home()
    return home if home else Path(platformdirs.user_config_dir("chatui", appauthor=False))


def data_folder() -> Path:
    """Return the folder of the conversations and the log file."""
    home = _home()
    return home if home else Path(platformdirs.user_data_dir("chatui", appauthor=False))


def settings_file() -> Path:
    return config_folder() / "settings.toml"


def user_presets_folder() -> Path:
    return config_folder() / "presets"


def database_file() -> Path:
    return data_folder() / "conversations.db"


def log_file() -> Path:
    return data_folder() / "chatui.log"


def assets_folder() -> Path:
    """Return the folder of shipped files: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "assets"
    return installed if installed.is_dir() else package.parent / "assets"
