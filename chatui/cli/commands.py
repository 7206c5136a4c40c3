"""The commands and their options, as data.

``chatui --help`` and the help of each command read this module and import no command.
"""

from __future__ import annotations

from argparse import BooleanOptionalAction
from functools import partial
from typing import Any

from chatui.cli import values
from chatui.locales import LANGUAGES
from chatui.sampling import SETTINGS, Setting


class Option:
    """An option or positional argument."""

    def __init__(
        self, *names: str, group: str = "", words: str = "", is_shared: bool = False, **more: Any
    ) -> None:
        """Describe an option.

        Args:
            names: as for argparse, such as "query" or "-o", "--output".
            group: key of its heading in ``cli.group``; "" for none.
            words: key of its help; by default its first long name.
            is_shared: its help is in ``cli.option`` instead of the command's table in
                ``commands``.
            more: further arguments of argparse's ``add_argument``.
        """
        long = next(name for name in names if name.startswith("--") or name[0] != "-")
        self.names = names
        self.group = group
        self.words = words or long.lstrip("-").replace("-", "_")
        self.is_shared = is_shared
        self.more = more


_shared = partial(Option, is_shared=True)
_general = partial(_shared, group="general")
_model = partial(_shared, group="model")
_conversation = partial(_shared, group="conversation")
_change = partial(Option, group="changes")


def _sampling(name: str, setting: Setting) -> Option:
    more: dict[str, Any] = {"type": values.number_in(setting), "metavar": setting.metavar}
    if setting.kind is bool:
        more = {"action": "store_true", "default": None}
    return _shared(f"--{name.replace('_', '-')}", group="sampling", **more)


GENERAL = (
    _general("--lang", choices=LANGUAGES),
    _general("--debug", action="store_true"),
)
SERVER = _model("--server", metavar="URL")
MODEL = {
    "model": _model("--model", metavar="REF"),
    "format": _model("--format", metavar="NAME"),
    "lora": _model("--lora", metavar="PATH[@SCALE]", type=values.adapter, action="append"),
    "server": SERVER,
    "device": _model("--device", metavar="NAME"),
    "dtype": _model("--dtype", choices=("auto", "float32", "bfloat16", "float16")),
    "weights": _model("--weights", choices=("auto", "plain", "int8", "int4")),
    "device_map": _model("--device-map", metavar="MAP"),
    "context": _model("--context", metavar="N", type=values.context),
    "think": _model("--think", action=BooleanOptionalAction),
}
RECORD = _shared("--record", metavar="FILE")
TOP = (*GENERAL, *MODEL.values(), RECORD)
"""Options that can also stand before the command."""

_QUERY = _shared("query", nargs="?", metavar="QUERY")
_JSON = _shared("--json", action="store_true")
_ENCODING = _shared("--encoding", words="files_encoding", metavar="NAME", type=values.encoding)
_HUB_NAME = _shared("name", words="hub_name", metavar="NAME")
_CONVERSATION = (
    _conversation("--history", metavar="FILE"),
    _conversation("--system", metavar="TEXT"),
    _conversation("--encoding", metavar="NAME", type=values.encoding),
)
_SAMPLING = (
    *(
        _sampling(name, setting)
        for name, setting in SETTINGS.items()
        if setting.metavar is not None
    ),
    _shared("--stop", metavar="TEXT", action="append", default=[], group="sampling"),
)
_REPEATED: dict[str, Any] = {"action": "append", "default": []}
_TOKENS: dict[str, Any] = {"metavar": "TOKENS"}
_MODELS: dict[str, Any] = {"action": "append", "dest": "models", "default": [], "group": "model"}
"""Model references and adapters of ``replay``, in their order."""


class Command:
    """A command.

    Attributes:
        run: module and name of its function in ``chatui.cli``, from the parsed arguments to the
            exit code.
        options: besides :data:`GENERAL`.
    """

    def __init__(self, run: str, *options: Option) -> None:
        self.run = run
        self.options = options


COMMANDS = {
    "ask": Command("ask.run", _QUERY, _JSON, RECORD, *MODEL.values(), *_CONVERSATION, *_SAMPLING),
    "inspect": Command(
        "inspect.run",
        _QUERY,
        _JSON,
        Option("--top", type=values.whole_number(1, 1000), default=8, metavar="N"),
        Option("--no-model", action="store_true"),
        *MODEL.values(),
        *_CONVERSATION,
        *_SAMPLING,
    ),
    "models": Command("models.run", Option("name", nargs="?", metavar="NAME"), _JSON, SERVER),
    "search": Command(
        "conversations.search",
        Option("words", nargs="+", metavar="WORDS"),
        _JSON,
        Option("--limit", type=values.whole_number(1), default=100, metavar="N"),
    ),
    "history": Command(
        "conversations.history",
        Option("ids", nargs="*", type=values.conversation, metavar="ID"),
        Option("--tag", metavar="TAG", default=""),
        Option("--archived", action="store_true"),
        Option("--deleted", action="store_true"),
        Option("--limit", type=values.whole_number(1), default=1000, metavar="N"),
        _JSON,
        *(
            _change(f"--{name}", action="store_true")
            for name in ("pin", "unpin", "archive", "unarchive", "delete", "restore")
        ),
        _change("--add-tag", metavar="TAG", **_REPEATED),
        _change("--remove-tag", metavar="TAG", **_REPEATED),
        _change("--title", metavar="TEXT"),
    ),
    "import": Command(
        "conversations.import_", Option("files", nargs="+", metavar="FILE"), _ENCODING
    ),
    "export": Command(
        "conversations.export",
        Option("ids", nargs="*", type=values.conversation, metavar="ID"),
        Option(
            "--as",
            dest="format",
            choices=(
                *("markdown", "text", "html", "svg", "transcript"),
                *("openai", "sharegpt", "alpaca", "chatglm"),
            ),
        ),
        Option("-o", "--output", metavar="FILE"),
        Option("--probabilities", action="store_true"),
        Option("--list", action="store_true"),
        _JSON,
    ),
    "replay": Command(
        "replay.run",
        Option("files", nargs="+", metavar="FILE"),
        Option("--speed", type=values.positive(10**12), default=1.0, metavar="X"),
        Option("--idle-limit", type=values.number_in(Setting(float, 0, 10**6)), metavar="SECONDS"),
        _ENCODING,
        Option("--rerun", action="store_true"),
        Option("--report", metavar="FILE"),
        Option("--model", metavar="REF", **_MODELS),
        MODEL["format"],
        _shared("--lora", metavar="PATH[@SCALE]", type=values.adapter, **_MODELS),
        *(MODEL[name] for name in MODEL if name not in ("model", "format", "lora")),
    ),
    "web": Command(
        "start_app.serve",
        *MODEL.values(),
        Option("--port", metavar="N", type=values.whole_number(0, 65535), default=8765),
        Option("--host", default="127.0.0.1"),
        Option("--allow-remote", action="store_true"),
        Option("--open", action="store_true"),
    ),
    "dataset": Command(
        "dataset.run",
        Option("files", nargs="*", metavar="FILE"),
        Option("--conversation", metavar="ID", type=values.conversation, **_REPEATED),
        Option("--family", choices=("chatglm", "alpaca", "causal")),
        MODEL["model"],
        MODEL["format"],
        Option("--max-source", type=values.whole_number(1), default=64, **_TOKENS),
        Option("--max-target", type=values.whole_number(2), default=64, **_TOKENS),
        Option("--max-length", type=values.whole_number(1), default=192, **_TOKENS),
        Option("--train", choices=("all", "last")),
        Option("--rated", "--rating", choices=("good", "bad", "+", "-")),
        Option("--tag", metavar="TAG", **_REPEATED),
        Option("--model-of", default="", metavar="NAME"),
        Option("--since", type=values.moment, default=float("-inf"), metavar="DATE"),
        Option("--until", type=values.end_of, default=float("inf"), metavar="DATE"),
        Option("--pairs", action="store_true"),
        Option(
            "--as",
            dest="form",
            choices=("jsonl", "arrow", "safetensors", "trl", "llama-factory"),
        ),
        Option("-o", "--output", metavar="FILE"),
        _ENCODING,
        Option("--preview", action="store_true"),
    ),
    "tune": Command(
        "tune.run",
        Option("file", metavar="FILE"),
        Option("-o", "--output", metavar="FOLDER", required=True),
        *(MODEL[name] for name in ("model", "lora", "device", "dtype", "weights")),
        Option("--rank", type=values.whole_number(1, 1024), default=8, metavar="R"),
        Option("--alpha", type=values.whole_number(1, 10_000), metavar="A"),
        Option("--targets", metavar="NAMES"),
        Option("--learning-rate", type=values.positive(1), default=2e-4, metavar="RATE"),
        Option("--batch", type=values.whole_number(1, 100_000), default=8, metavar="N"),
        Option("--epochs", type=values.whole_number(1, 10_000), default=3, metavar="N"),
        Option("--seed", type=values.whole_number(0), default=0, metavar="N"),
    ),
    "pull": Command(
        "downloads.pull",
        _HUB_NAME,
        Option("--from", dest="source", choices=("hf", "modelscope")),
        Option("--mirror", metavar="URL", default=""),
    ),
    "rm": Command("downloads.rm", _HUB_NAME, Option("--yes", "-y", action="store_true")),
    "doctor": Command("doctor.run", _JSON),
    "completion": Command("parser.completion", Option("shell", choices=("bash", "zsh", "fish"))),
    "man": Command("parser.man"),
}
"""The commands by name, in the order of the help."""
