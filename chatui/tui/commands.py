"""The commands of the query box (``/name``) and the command palette (Ctrl+P).

The user's prompts are commands too: ``prompts/翻译.md`` in the settings folder becomes ``/翻译``.
In it, ``{query}`` stands for the text after the command and ``{selection}`` for the text selected
on the screen, or else the chosen reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from chatui import hanzi, locations
from chatui.locales import say
from chatui.text import in_quotes, one_line

MAX_PROMPT_BYTES = 1 << 20
_SUFFIXES = (".md", ".txt")


class Command(Struct, frozen=True):
    """A command.

    Attributes:
        name: the name after the slash.
        action: the action of the main screen or, with "app.", of the app.
        takes_argument: whether text after the name is passed as the action's last parameter.
        prompt: the text of the user's prompt that the command sends, instead of an action.
    """

    name: str
    action: str = ""
    takes_argument: bool = False
    prompt: str = ""

    @property
    def description(self) -> str:
        """What it does, in the user's language."""
        return say("tui.prompts.words") if self.prompt else say(f"tui.commands.{self.name}")

    def query(self, typed: str, selection: str) -> str:
        """Return the query of a prompt; without ``{query}`` in it, ``typed`` is appended."""
        parts = self.prompt.split("{selection}")
        text = selection.join(part.replace("{query}", typed) for part in parts)
        is_complete = "{query}" in self.prompt or not typed
        return text if is_complete else f"{text.rstrip()}\n\n{typed}"


COMMANDS = (
    Command("model", "models", True),
    Command("lora", "adapters", True),
    Command("system", "edit_system", True),
    Command("temp", "setting('temperature')", True),
    Command("seed", "setting('seed')", True),
    Command("settings", "panel"),
    Command("save", "save_preset", True),
    Command("retry", "regenerate"),
    Command("continue", "continue_reply"),
    Command("edit", "edit_query"),
    Command("reply", "edit_reply"),
    Command("rate", "rate_as", True),
    Command("note", "note", True),
    Command("copy", "copy_reply"),
    Command("copy-code", "copy_code"),
    Command("copy-all", "copy_all"),
    Command("compare", "compare", True),
    Command("write", "editor"),
    Command("waiting", "edit_waiting"),
    Command("export", "export", True),
    Command("import", "import", True),
    Command("replay", "replay"),
    Command("context", "tell_context"),
    Command("tree", "tree"),
    Command("inside", "token_panel"),
    Command("think", "think"),
    Command("fold", "fold"),
    Command("markdown", "markdown"),
    Command("clear", "new"),
    Command("open", "conversations"),
    Command("history", "conversations"),
    Command("search", "conversations", True),
    Command("list", "side_bar"),
    Command("find", "find", True),
    Command("title", "write_title", True),
    Command("theme", "toggle_theme", True),
    Command("help", "help"),
    Command("quit", "app.quit"),
)
"""The built-in commands, in the order of the command palette."""


def prompts_folder() -> Path:
    """Return the folder of the user's prompts."""
    return locations.config_folder() / "prompts"


def prompt_commands() -> tuple[tuple[Command, ...], tuple[str, ...]]:
    """Return a command for each of the user's prompts, and a sentence for each skipped file."""
    found: dict[str, Command] = {}
    problems: list[str] = []
    try:
        files = sorted(file for file in prompts_folder().iterdir() if file.suffix in _SUFFIXES)
    except OSError:
        return (), ()
    for file in files:
        try:
            found[file.stem] = Command(file.stem, "", True, _read_prompt(file))
        except (OSError, ValueError) as error:
            name = in_quotes(one_line(file.name, 60))
            problems.append(say("tui.prompts.skipped", name=name, reason=error))
    return tuple(found.values()), tuple(problems)


def _read_prompt(file: Path) -> str:
    if any(character.isspace() for character in file.stem) or not file.stem.isprintable():
        raise ValueError(say("tui.prompts.name"))
    if find(COMMANDS, file.stem) is not None:
        raise ValueError(say("tui.prompts.taken", name=file.stem))
    if not file.is_file():
        raise ValueError(say("tui.prompts.no_file"))
    if file.stat().st_size > MAX_PROMPT_BYTES:
        raise ValueError(say("tui.prompts.too_long"))
    try:
        text = file.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(say("tui.prompts.not_utf8")) from error
    if not text:
        raise ValueError(say("tui.prompts.empty"))
    return text


def split(text: str) -> tuple[str, str] | None:
    """Split ``/name argument`` into name and argument; None for other texts."""
    if not text.startswith("/"):
        return None
    name, _, rest = text[1:].partition(" ")
    first, line_break, more = name.partition("\n")
    rest = more + (" " + rest if rest else "") if line_break else rest
    return (first, rest.strip()) if first else None


def find(commands: Sequence[Command], name: str) -> Command | None:
    """Return the command of this name, or None."""
    return next((each for each in commands if each.name == name), None)


def matching(commands: Sequence[Command], name: str, rest: str) -> tuple[Command, ...]:
    """Return the command of this name, else all whose name begins so and that take an argument.

    Args:
        rest: the argument; without one a name must be complete.
    """
    exact = find(commands, name)
    begun = (each for each in completions(commands, "/" + name) if each.takes_argument)
    return (exact,) if exact is not None else tuple(begun) if rest else ()


def completions(commands: Sequence[Command], text: str) -> tuple[Command, ...]:
    """Return the commands that complete ``/text``; none after a space."""
    typed = text[1:]
    if not text.startswith("/") or any(character.isspace() for character in typed):
        return ()
    return tuple(each for each in commands if hanzi.begins_with(each.name, typed))


def search(commands: Sequence[Command], words: str) -> tuple[Command, ...]:
    """Return the commands found by name, followed by those found by description."""
    typed = words.strip().removeprefix("/")
    by_name = [each for each in commands if hanzi.begins_with(each.name, typed)]
    by_words = [each for each in commands if hanzi.contains(each.description, typed)]
    return tuple(dict.fromkeys((*by_name, *by_words)))
