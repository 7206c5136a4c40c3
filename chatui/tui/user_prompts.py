"""The user's prompts: files in the settings folder that become commands.

``prompts/翻译.md`` becomes ``/翻译``. In it, ``{query}`` stands for the text after the command and
``{selection}`` for the text selected on the screen, or else the chosen reply.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from chatui import locations
from chatui.locales import say
from chatui.text import in_quotes, one_line

MAX_BYTES = 1 << 20
_SUFFIXES = (".md", ".txt")


class UserPrompt(Struct, frozen=True):
    """A prompt with placeholders.

    Attributes:
        name: the name of its command.
        text: the content of the file.
    """

    name: str
    text: str

    def fill(self, query: str, selection: str) -> str:
        """Return the query to send; without ``{query}`` the typed text is appended."""
        parts = self.text.split("{selection}")
        text = selection.join(part.replace("{query}", query) for part in parts)
        is_complete = "{query}" in self.text or not query
        return text if is_complete else f"{text.rstrip()}\n\n{query}"


def prompts_folder() -> Path:
    """Return the folder of the prompt files."""
    return locations.config_folder() / "prompts"


def user_prompts() -> tuple[tuple[UserPrompt, ...], tuple[str, ...]]:
    """Return all prompts, and a sentence for each file that was skipped."""
    found: dict[str, UserPrompt] = {}
    problems: list[str] = []
    try:
        files = sorted(file for file in prompts_folder().iterdir() if file.suffix in _SUFFIXES)
    except OSError:
        return (), ()
    for file in files:
        try:
            found[file.stem] = UserPrompt(file.stem, _read(file))
        except (OSError, ValueError) as error:
            name = in_quotes(one_line(file.name, 60))
            problems.append(say("tui.prompts.skipped", name=name, reason=error))
    return tuple(found.values()), tuple(problems)


def _read(file: Path) -> str:
    if any(character.isspace() for character in file.stem) or not file.stem.isprintable():
        raise ValueError(say("tui.prompts.name"))
    if not file.is_file():
        raise ValueError(say("tui.prompts.no_file"))
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(say("tui.prompts.too_long"))
    try:
        text = file.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(say("tui.prompts.not_utf8")) from error
    if not text:
        raise ValueError(say("tui.prompts.empty"))
    return text
