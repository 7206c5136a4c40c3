"""The commands: by their names behind a slash in the query box, and all in one list on Ctrl+P."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from chatui import pinyin
from chatui.locales import say
from chatui.text import in_quotes
from chatui.tui.user_prompts import UserPrompt


class Command(Struct, frozen=True):
    """Something that can be done.

    Attributes:
        name: what is typed behind the slash.
        action: of the main screen or, with "app.", of the app.
        takes: whether something may follow the name, for the action's last parameter.
        prompt: a prompt of the user's, which is sent.
    """

    name: str
    action: str = ""
    takes_argument: bool = False
    prompt: UserPrompt | None = None

    @property
    def description(self) -> str:
        """What it does."""
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
    Command("continue", "go_on"),
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
"""All that ship with chatui, in the order in which they are listed."""


def all_commands(prompts: Sequence[UserPrompt]) -> tuple[Command, ...]:
    """The commands, and the user's prompts as such; a prompt hides no command."""
    names = {command.name for command in COMMANDS}
    own = (Command(each.name, "", True, each) for each in prompts if each.name not in names)
    return (*COMMANDS, *own)


def name_taken(prompt: UserPrompt) -> str:
    """That a prompt has the name of a command."""
    name, reason = in_quotes(prompt.name), say("tui.prompts.taken", name=prompt.name)
    return say("tui.prompts.skipped", name=name, reason=reason)


def split(text: str) -> tuple[str, str] | None:
    """The name and what follows it, of a text that begins with a slash and a name."""
    if not text.startswith("/"):
        return None
    name, _, rest = text[1:].partition(" ")
    first, line_break, more = name.partition("\n")
    rest = more + (" " + rest if rest else "") if line_break else rest
    return (first, rest.strip()) if first else None


def find(commands: Sequence[Command], name: str) -> Command | None:
    """The command that is called exactly so."""
    return next((each for each in commands if each.name == name), None)


def matching(commands: Sequence[Command], name: str, rest: str) -> tuple[Command, ...]:
    """The commands that a name with ``rest`` behind it may mean: the one that is called so, else
    those whose name it begins and that take what follows.
    """
    exact = find(commands, name)
    begun = (each for each in completions(commands, "/" + name) if each.takes_argument)
    return (exact,) if exact is not None else tuple(begun) if rest else ()


def completions(commands: Sequence[Command], text: str) -> tuple[Command, ...]:
    """The commands whose name a text in the query box begins; none once the name is complete."""
    typed = text[1:]
    if not text.startswith("/") or any(character.isspace() for character in typed):
        return ()
    return tuple(each for each in commands if pinyin.begins_with(each.name, typed))


def search(commands: Sequence[Command], words: str) -> tuple[Command, ...]:
    """The commands that words find: by name first, then by what they do."""
    typed = words.strip().removeprefix("/")
    by_name = [each for each in commands if pinyin.begins_with(each.name, typed)]
    by_words = [each for each in commands if pinyin.contains(each.description, typed)]
    return tuple(dict.fromkeys((*by_name, *by_words)))
