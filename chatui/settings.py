"""The user's settings: one TOML file, every key optional."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import toml

from chatui import locations
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.sampling import DEFAULTS, Setting, override
from chatui.text import one_line
from chatui.validation_errors import key_and_reason

_TOKENS = Setting(int, 0, 2**31 - 1)
CONTEXT = Setting(int, 1, 2**31 - 1)
"""Range of the context window, in tokens."""


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An OpenAI-compatible server.

    Attributes:
        url: base URL, with or without "/v1".
        name: shown before the names of its models; the URL's host if empty.
        api: "chat" (the server's chat template) or "completions" (chatui's prompt formats).
        key_env: name of the environment variable that holds the API key, never the key itself.
    """

    url: str
    name: str = ""
    api: Literal["chat", "completions"] = "chat"
    key_env: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings file.

    Attributes:
        language: "zh", "en", or "auto" for the locale's.
        model: the default model.
        theme: name of a Textual theme.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto", "float32", "bfloat16", "float16".
        weights: "plain", "int8", "int4"; "auto" quantises them if they do not fit otherwise.
        device_map: accelerate's device map; empty for a single device.
        context: context window in tokens, at most the model's own; "auto" uses as many as fit.
        merge_adapters: merge LoRA into the base weights: decoding is slightly faster, but changing
            the adapters reloads the base.
        max_new_tokens: limit of a reply if the preset has none; 0 uses the context window.
        reply_reserve: tokens that a prompt leaves free for the reply; 0 uses the preset's value.
        think: whether models that can do both think before they answer; "auto" leaves it to the
            preset and the model.
        notify: notification when a reply ends while the terminal has no focus: "bell", "osc9"
            (iTerm2, kitty, Windows Terminal, …) or "osc777" (foot, urxvt, VTE).
        side_bar: open the conversation list beside the conversation at the start.
        ambiguous_width: width in cells of “ ” … — α → and similar characters in the terminal.
        model_folders: folders to search for models.
        servers: OpenAI-compatible servers.
        keys: keys by the name of their action; invalid entries are ignored.
        sampling: overrides of the preset's sampling, by the names of ``SamplingSettings``.

    Raises:
        ChatuiError: a number or a sampling value is invalid.
    """

    language: Literal["auto", "zh", "en"] = "auto"
    model: str = "shiyou"
    theme: str = "chatui"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    weights: Literal["auto", "plain", "int8", "int4"] = "auto"
    device_map: str = ""
    context: int | Literal["auto"] = "auto"
    merge_adapters: bool = False
    max_new_tokens: int = 0
    reply_reserve: int = 0
    think: bool | Literal["auto"] = "auto"
    notify: Literal["off", "bell", "osc9", "osc777"] = "off"
    side_bar: bool = False
    ambiguous_width: Literal[1, 2] = 1
    model_folders: tuple[str, ...] = ()
    servers: tuple[Server, ...] = ()
    keys: dict[str, Any] = {}
    sampling: dict[str, Any] = {}

    def __post_init__(self) -> None:
        ranges = {"max_new_tokens": _TOKENS, "reply_reserve": _TOKENS, "context": CONTEXT}
        for name, setting in ranges.items():
            value = getattr(self, name)
            if value != "auto" and not setting.allows(value):
                raise ChatuiError(
                    say("settings.out_of_range_key", name=name, value=value, range=setting.range)
                )
        override(DEFAULTS, self.sampling)


def load_settings(file: Path | None = None) -> Settings:
    """Read the settings file; without one, return the defaults.

    Raises:
        ChatuiError: the file cannot be read, is not TOML, or a key or value is invalid.
    """
    path = file or locations.settings_file()
    try:
        return toml.decode(path.read_text(encoding="utf-8-sig"), type=Settings)
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    except OSError as error:
        raise ChatuiError(say("settings.unreadable", path=path, reason=error)) from error
    except UnicodeDecodeError as error:
        raise ChatuiError(say("settings.not_utf8", path=path)) from error
    except (msgspec.ValidationError, ChatuiError) as error:
        key, reason = key_and_reason(error, Settings)
        is_unknown = "unknown field" in str(error)
        words = {"key": one_line(key, 60), "reason": f"{key} {reason}".lstrip()}
        sentence = "settings.unknown_key" if is_unknown else "settings.wrong_value"
        raise ChatuiError(say(sentence, path=path, **words)) from error
    except (ValueError, RecursionError) as error:
        # For huge numbers and deep nesting tomllib raises other errors than its own.
        raise ChatuiError(say("settings.not_toml", path=path, reason=error)) from error
