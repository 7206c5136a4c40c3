"""The commands of the query box (``/name``) and the command palette (Ctrl+P)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from chatui import hanzi
from chatui.locales import say
from chatui.text import in_quotes
from chatui.tui.user_prompts import UserPrompt


class Command(Struct, frozen=True):
    """A command.

    Attributes:
        name: the name after the slash.
        action: the action of the main screen or, with "app.", of the app.
        takes_argument: whether text after the name is passed as the action's last parameter.
        prompt: the user's prompt that the command sends, instead of an action.
    """

    name: str
    action: str = ""
    takes_argument: bool = False
    prompt: UserPrompt | None = None

    @property
    def description(self) -> str:
        """What it does, in the user's language."""
        return say("tui.prompts.words") if self.prompt else say(f"tui.commands.{self.name}")


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


def all_commands(prompts: Sequence[UserPrompt]) -> tuple[Command, ...]:
    """Return the built-in commands and one for each prompt whose name is free."""
    names = {command.name for command in COMMANDS}
    of_prompts = (Command(each.name, "", True, each) for each in prompts if each.name not in names)
    return (*COMMANDS, *of_prompts)


def name_taken(prompt: UserPrompt) -> str:
    """Return the sentence for a prompt that has the name of a command."""
    name, reason = in_quotes(prompt.name), say("tui.prompts.taken", name=prompt.name)
    return say("tui.prompts.skipped", name=name, reason=reason)


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
