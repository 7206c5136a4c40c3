"""``chatui doctor``: check the installation and the devices."""

from __future__ import annotations

import argparse
import json
import locale
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import chatui
from chatui import catalog, locations, readable
from chatui.catalog.local_models import hugging_face_cache
from chatui.catalog.model_description import installed_version
from chatui.cli.exit_codes import ERROR, SUCCESS
from chatui.cli.output import write, write_json, write_stderr, write_table
from chatui.errors import ChatuiError
from chatui.locales import current_language, say
from chatui.settings import Settings, load_settings

_PACKAGES = ("torch", "transformers", "textual", "httpx2")
_OPTIONAL = ("llama-cpp-python",)
_PROBE_SECONDS = 120


def run(args: argparse.Namespace) -> int:
    found = examine()
    if args.json:
        write_json(found)
    else:
        _print(found)
    for problem in found["problems"]:
        write_stderr(say("cli.error", sentence=problem))
    return ERROR if found["problems"] else SUCCESS


def examine() -> dict[str, Any]:
    """Check everything; writes nothing, and collects problems instead of raising them.

    Returns:
        versions: package -> version; None if it is not installed.
        devices: the output of ``chatui.engine.device_probe``.
        terminal, locale: name -> value.
        folders: name, path, writable and free_bytes of each folder that chatui writes to.
        models: reference -> device (None if it fits nowhere), window in tokens (0 if unknown),
            memory_bytes with that window, small (True if the CPU was chosen for that), and bits
            (8 or 4 if the weights are quantised to fit, else 0).
        problems: one sentence each.
    """
    problems: list[str] = []
    installed = {name: installed_version(name) for name in (*_PACKAGES, *_OPTIONAL)}
    for name in _PACKAGES:
        if not installed[name]:
            problems.append(say("cli.doctor.not_installed", name=name))
    folders = [
        _folder("config", locations.config_folder()),
        _folder("data", locations.data_folder()),
        _folder("models", hugging_face_cache()),
    ]
    for folder in folders:
        if not folder["writable"]:
            problems.append(say("cli.doctor.unwritable", path=folder["path"]))
    encoding = sys.stdout.encoding or ""
    if not encoding.lower().replace("-", "").startswith(("utf8", "gb", "cp936")):
        problems.append(say("cli.doctor.encoding", encoding=encoding))
    settings = Settings()
    devices: list[dict[str, Any]] = []
    try:
        settings = load_settings()
    except ChatuiError as error:
        problems.append(str(error))
    problems += catalog.problems()
    try:
        devices = _probe()
    except ChatuiError as error:
        problems.append(str(error))
    size = shutil.get_terminal_size()
    return {
        "versions": {
            "chatui": chatui.__version__,
            "python": platform.python_version(),
            **installed,
        },
        "devices": devices,
        "terminal": {
            "term": os.environ.get("TERM", ""),
            "colours": os.environ.get("COLORTERM", ""),
            "columns": size.columns,
            "lines": size.lines,
            "interactive": sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty(),
        },
        "locale": {
            "language": current_language(),
            "encoding": encoding,
            "preferred_encoding": locale.getpreferredencoding(False),
        },
        "folders": folders,
        "models": {
            entry.reference: _best_fit(entry, devices, settings.context, settings.weights)
            for entry in catalog.list_models(settings)
            if entry.usable
        },
        "problems": problems,
    }


def _folder(name: str, path: Path) -> dict[str, Any]:
    """Check a folder, or its nearest parent that exists."""
    there = next(each for each in (path, *path.parents) if each.exists())
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    free = shutil.disk_usage(there).free
    return {"name": name, "path": str(path), "writable": writable, "free_bytes": free}


def _probe() -> list[dict[str, Any]]:
    """Ask a process that imports torch for the devices.

    Raises:
        ChatuiError: torch cannot be imported, or does not answer in time.
    """
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "chatui.engine.device_probe"],
            cwd=Path(chatui.__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
        )
        if answer.returncode:
            lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
            raise ValueError(lines[-1])
        devices: list[dict[str, Any]] = json.loads(answer.stdout)["devices"]
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise ChatuiError(say("cli.doctor.no_torch", reason=error)) from error
    return devices


def _best_fit(
    entry: catalog.ModelEntry,
    devices: list[dict[str, Any]],
    context: int | str,
    weights: str = "auto",
) -> dict[str, Any]:
    """Find the first device that a model fits; see :func:`examine` for the result."""
    fit = {"device": None, "window": 0, "memory_bytes": entry.memory_bytes}
    fit |= {"small": False, "bits": 0}
    asked = context if isinstance(context, int) else None
    small = entry.small and len(devices) > 1
    for device in devices[-1:] if small else devices:
        found = entry.fit(str(device["name"]), int(device["free_bytes"]), asked, weights)
        if found is not None:
            fit |= {"device": device["name"], "small": small, "bits": found.bits}
            if entry.cache.numbers(1) > 0:
                fit |= {"window": found.window, "memory_bytes": found.total}
            break
    return fit


def _fit_text(fit: dict[str, Any]) -> str:
    """Return the device, memory and window of a model as text."""
    if fit["device"] is None:
        return say("cli.doctor.nowhere")
    words = [str(fit["device"]), readable.size(fit["memory_bytes"])]
    words += [f"int{fit['bits']}"] if fit["bits"] else []
    words += [say("cli.doctor.window", window=fit["window"])] if fit["window"] else []
    words += [say("cli.doctor.small")] if fit["small"] else []
    return " · ".join(words)


def _print(found: dict[str, Any]) -> None:
    def in_words(value: object) -> str:
        has_word = value is None or isinstance(value, bool)
        return say(f"cli.doctor.{str(value).lower()}") if has_word else str(value)

    def with_sizes(key: str, item: dict[str, Any]) -> str:
        sizes = {name: readable.size(item.get(f"{name}_bytes", 0)) for name in ("free", "memory")}
        return say(key, **{**item, **sizes})

    groups = {
        "versions": found["versions"],
        "devices": {d["name"]: with_sizes("cli.doctor.device", d) for d in found["devices"]},
        "terminal": found["terminal"],
        "locale": found["locale"],
        "folders": {f["name"]: with_sizes("cli.doctor.folder", f) for f in found["folders"]},
        "models": {name: _fit_text(fit) for name, fit in found["models"].items()},
    }
    for group, rows in groups.items():
        write(say(f"cli.doctor.{group}") + "\n")
        named = group in ("terminal", "locale", "folders")
        names = [say(f"cli.doctor.name.{key}") if named else key for key in rows]
        write_table(zip(names, map(in_words, rows.values()), strict=True), indent="  ")
        write("\n")
