"""Every path that chatui reads or writes, in one place."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import platformdirs


def expanded(path: str) -> Path:
    """``path`` with its "~" replaced, unless it names a user that is not there."""
    # No file name holds a NUL; looking for one would be a ValueError.
    path = path.replace("\0", "\N{REPLACEMENT CHARACTER}")
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def _home() -> Path | None:
    """The folder that overrides the platform's, from the environment."""
    value = os.environ.get("CHATUI_HOME", "").strip()
    return expanded(value).absolute() if value else None


def config_folder() -> Path:
    """Settings and the user's own presets."""
    home = _home()
    return home if home else Path(platformdirs.user_config_dir("chatui", appauthor=False))


def data_folder() -> Path:
    """Conversations and the log file."""
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
    """Files shipped with the program: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "assets"
    return installed if installed.is_dir() else package.parent / "assets"
