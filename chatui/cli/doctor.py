"""``chatui doctor``: what is there to run on, and what is in the way."""

from __future__ import annotations

import argparse
import json
import locale
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import chatui
from chatui import catalog, locations, readable
from chatui.catalog.places import hugging_face_cache
from chatui.cli import options
from chatui.cli.ending import ERROR, SUCCESS
from chatui.cli.output import tell, write, write_json, write_table
from chatui.errors import ChatuiError
from chatui.locales import current_language, say
from chatui.settings import Settings, load_settings

_PACKAGES = ("torch", "transformers", "textual", "httpx2", "llama-cpp-python")
_OPTIONAL = ("llama-cpp-python",)
_PROBE_SECONDS = 120


@dataclass(frozen=True)
class Folder:
    """A folder that chatui writes to.

    Attributes:
        name: config, data or models.
        free_bytes: room left on its disk.
    """

    name: str
    path: str
    writable: bool
    free_bytes: int


@dataclass
class Findings:
    """What the doctor found.

    Attributes:
        versions: package -> version; None where it is not installed.
        devices: as ``chatui.engine.probe`` has them.
        models: reference -> the device that it fits, None for none.
        problems: a sentence each.
    """

    versions: dict[str, str | None] = field(default_factory=dict)
    devices: list[dict[str, Any]] = field(default_factory=list)
    terminal: dict[str, Any] = field(default_factory=dict)
    locale: dict[str, str] = field(default_factory=dict)
    folders: list[Folder] = field(default_factory=list)
    models: dict[str, str | None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    found = examine()
    if args.json:
        write_json(asdict(found))
    else:
        _print(found)
    for problem in found.problems:
        tell(say("cli.error", sentence=problem))
    return ERROR if found.problems else SUCCESS


def examine() -> Findings:
    """Look at everything; nothing is written, and nothing that is wrong ends it early."""
    found = Findings(
        versions={"chatui": chatui.__version__, "python": platform.python_version()},
        terminal=_terminal(),
        locale={
            "language": current_language(),
            "encoding": sys.stdout.encoding or "",
            "preferred_encoding": locale.getpreferredencoding(False),
        },
        folders=list(_folders()),
    )
    for name in _PACKAGES:
        found.versions[name] = _version(name)
        if found.versions[name] is None and name not in _OPTIONAL:
            found.problems.append(say("cli.doctor.not_installed", name=name))
    for folder in found.folders:
        if not folder.writable:
            found.problems.append(say("cli.doctor.unwritable", path=folder.path))
    if not found.locale["encoding"].lower().replace("-", "").startswith(("utf8", "gb", "cp936")):
        found.problems.append(say("cli.doctor.encoding", encoding=found.locale["encoding"]))
    settings = Settings()
    try:
        settings = load_settings()
    except ChatuiError as error:
        found.problems.append(str(error))
    found.problems += catalog.problems()
    try:
        found.devices = _probe()
    except ChatuiError as error:
        found.problems.append(str(error))
    for entry in catalog.entries(settings):
        if entry.usable:
            found.models[entry.reference] = _fitting(entry.memory_bytes, found.devices)
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _terminal() -> dict[str, Any]:
    size = shutil.get_terminal_size()
    return {
        "term": os.environ.get("TERM", ""),
        "colours": os.environ.get("COLORTERM", ""),
        "columns": size.columns,
        "lines": size.lines,
        "interactive": sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty(),
    }


def _folders() -> Iterator[Folder]:
    for name, path in (
        ("config", locations.config_folder()),
        ("data", locations.data_folder()),
        ("models", hugging_face_cache()),
    ):
        there = path
        while not there.exists() and there != there.parent:
            there = there.parent
        writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        yield Folder(name, str(path), writable, shutil.disk_usage(there).free)


def _probe() -> list[dict[str, Any]]:
    """The devices, asked of a process that imports torch.

    Raises:
        ChatuiError: torch cannot be imported, or takes for ever.
    """
    command = [sys.executable, "-m", "chatui.engine.probe"]
    try:
        answer = subprocess.run(
            command,
            cwd=Path(chatui.__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        devices: list[dict[str, Any]] = json.loads(answer.stdout)["devices"]
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [str(error)])[-1]
        raise ChatuiError(say("cli.doctor.no_torch", reason=reason)) from error
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise ChatuiError(say("cli.doctor.no_torch", reason=error)) from error
    return devices


def _fitting(memory_bytes: int, devices: list[dict[str, Any]]) -> str | None:
    for device in devices:
        if memory_bytes <= device["free_bytes"]:
            return str(device["name"])
    return None


def _print(found: Findings) -> None:
    none = say("cli.doctor.none")

    def group(name: str, rows: list[tuple[str, str]]) -> None:
        write(say(f"cli.doctor.{name}") + "\n")
        if rows:
            write_table(rows, indent="  ")
        write("\n")

    group("versions", [(name, value or none) for name, value in found.versions.items()])
    group(
        "devices",
        [
            (
                device["name"],
                say(
                    "cli.doctor.device",
                    title=device["title"],
                    memory=readable.size(device["memory_bytes"]),
                    free=readable.size(device["free_bytes"]),
                ),
            )
            for device in found.devices
        ],
    )
    group("terminal", [(key, str(value)) for key, value in found.terminal.items()])
    group("locale", list(found.locale.items()))
    group(
        "folders",
        [
            (
                folder.name,
                say("cli.doctor.folder", path=folder.path, free=readable.size(folder.free_bytes)),
            )
            for folder in found.folders
        ],
    )
    group(
        "models",
        [(name, device or say("cli.doctor.nowhere")) for name, device in found.models.items()],
    )
