"""The sampling settings of a reply, and all that is known of each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

_LARGEST_INT = 2**31 - 1
_GREEDY_BELOW = 1e-3
"""Lower temperatures would overflow single precision; they choose the best token anyway."""


@dataclass(frozen=True)
class Setting:
    """What is known of a setting beside its default.

    Attributes:
        kind: type of its values; a float takes an int too.
        minimum, maximum: range of a number, both ends included.
        exclusive_minimum: command line options refuse ``minimum`` itself. Files may have it:
            with a ``top_p`` of 0 ChatRWKV takes the best token.
        optional: None is allowed.
        metavar: placeholder of its command line option ``--name``, which ``cli.option.name``
            explains and the README lists; "" for a flag, None for a setting without an option.
        server_fields: its names in requests to OpenAI-compatible servers.
        affects_greedy: whether it has an effect on a greedy reply.
    """

    kind: type[float] | type[int] | type[bool] | type[str]
    minimum: float = 0
    maximum: float = 0
    exclusive_minimum: bool = False
    optional: bool = False
    metavar: str | None = None
    server_fields: tuple[str, ...] = ()
    affects_greedy: bool = True

    @property
    def range(self) -> str:
        """The allowed values in words."""
        if self.kind in (bool, str):
            return say(f"settings.range.{self.kind.__name__}")
        number = say("settings.range.whole" if self.kind is int else "settings.range.number")
        key = "settings.range.above_to" if self.exclusive_minimum else "settings.range.from_to"
        return say(key, number=number, minimum=self.minimum, maximum=self.maximum)

    def allows(self, value: object) -> bool:
        """Whether ``value`` has the right type and lies in the range."""
        if value is None:
            return self.optional
        if self.kind in (bool, str) or isinstance(value, (bool, str)):
            return isinstance(value, self.kind) and isinstance(value, bool) == (self.kind is bool)
        if not isinstance(value, (int, float) if self.kind is float else int):
            return False
        # NaN is not in any range.
        return self.minimum <= value <= self.maximum


def _setting(
    default: Any,
    kind: Any,
    minimum: float = 0,
    maximum: float = 0,
    metavar: str | None = None,
    server: tuple[str, ...] = (),
    **more: bool,
) -> Any:
    about = Setting(kind, minimum, maximum, metavar=metavar, server_fields=server, **more)
    return field(default=default, metadata={"setting": about})


@dataclass(frozen=True)
class SamplingSettings:
    """How the next token is chosen; the defaults of a preset, overridden by the user.

    Attributes:
        temperature: logits are divided by it; 0 means greedy.
        top_k: keep the k best tokens; 0 keeps all.
        top_p: keep the smallest set of tokens whose probabilities reach this sum; 1 keeps all.
        min_p: keep tokens with at least this share of the best probability; 0 keeps all.
        repetition_penalty: CTRL's penalty on tokens seen in prompt or reply; 1 is none.
        presence_penalty: subtracted once from the logit of each token already in the reply.
        frequency_penalty: subtracted for each earlier occurrence in the reply.
        penalty_decay: the occurrence counts are multiplied by it at each token (ChatRWKV: 0.996).
        no_repeat_ngram_size: no n-gram of this size occurs twice; 0 allows all.
        temperature_last: divide by the temperature after top-k, top-p and min-p have chosen who
            stays, as ChatRWKV does, not before.
        avoid_repeat: characters that do not come twice in a row, if each is one token of the
            model (ChatRWKV: 「，：？！」).
        newline_bias: ChatRWKV's way to end a chat reply: no end token, and a newline never at
            first, seldom within 40 tokens, and ever likelier after 150.
        uniform_top_k: choose evenly among the ``top_k`` best, whatever their probabilities.
        greedy: always take the best token, after the penalties.
        max_new_tokens: the reply's limit in tokens; None leaves it to the context window.
        seed: makes the reply repeatable; None draws a fresh one.

    Raises:
        ChatuiError: a value has the wrong type or lies outside its range.
    """

    temperature: float = _setting(1.0, float, 0, 100, "T", ("temperature",), affects_greedy=False)
    top_k: int = _setting(0, int, 0, _LARGEST_INT, "K", ("top_k",), affects_greedy=False)
    top_p: float = _setting(
        1.0, float, 0, 1, "P", ("top_p",), exclusive_minimum=True, affects_greedy=False
    )
    min_p: float = _setting(0.0, float, 0, 1, "P", ("min_p",), affects_greedy=False)
    repetition_penalty: float = _setting(
        1.0, float, 0.01, 100, "X", ("repetition_penalty", "repeat_penalty")
    )
    presence_penalty: float = _setting(0.0, float, -100, 100, "X", ("presence_penalty",))
    frequency_penalty: float = _setting(0.0, float, -100, 100, "X", ("frequency_penalty",))
    penalty_decay: float = _setting(1.0, float, 0, 1)
    no_repeat_ngram_size: int = _setting(0, int, 0, _LARGEST_INT)
    temperature_last: bool = _setting(False, bool, affects_greedy=False)
    avoid_repeat: str = _setting("", str)
    newline_bias: bool = _setting(False, bool)
    uniform_top_k: bool = _setting(False, bool, affects_greedy=False)
    greedy: bool = _setting(False, bool, metavar="")
    max_new_tokens: int | None = _setting(
        None, int, 1, _LARGEST_INT, "N", ("max_tokens",), optional=True
    )
    seed: int | None = _setting(
        None, int, 0, 2**63 - 1, "N", ("seed",), optional=True, affects_greedy=False
    )

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            value = getattr(self, name)
            if not setting.allows(value):
                shown = one_line(repr(value), 60)
                raise ChatuiError(
                    say("settings.out_of_range", name=name, value=shown, range=setting.range)
                )

    @property
    def is_greedy(self) -> bool:
        """Whether the best token is always taken."""
        return self.greedy or self.temperature < _GREEDY_BELOW

    def active_settings(self) -> dict[str, float | int | bool | str]:
        """The settings that change how this reply is chosen, by name."""
        found = {
            name: getattr(self, name)
            for name, setting in SETTINGS.items()
            if (setting.affects_greedy or not self.is_greedy)
            and getattr(self, name) != getattr(DEFAULTS, name)
        }
        return found | {"greedy": True} if self.is_greedy else found


SETTINGS: Mapping[str, Setting] = {
    item.name: item.metadata["setting"] for item in fields(SamplingSettings)
}
"""All settings by name, in the order in which they are shown."""

DEFAULTS = SamplingSettings()
"""Every value that changes nothing."""


def override(sampling: SamplingSettings, values: Mapping[str, object]) -> SamplingSettings:
    """``sampling`` with ``values`` in place of its own, by name.

    Raises:
        ChatuiError: there is no setting of a name, or a value is wrong.
    """
    for name in values:
        if name not in SETTINGS:
            shown = one_line(name, 60)
            raise ChatuiError(say("settings.unknown_sampling", name=shown))
    return replace(sampling, **dict[str, Any](values))


def override_by_user(preset: SamplingSettings, values: Mapping[str, object]) -> SamplingSettings:
    """A preset's sampling with what the user chose in its place.

    A temperature or a threshold would have no effect on a preset that is greedy or picks evenly:
    with one of them it is neither, unless the user says so too.

    Raises:
        ChatuiError: as :func:`override`.
    """
    draws = {} if values.keys() & {"greedy"} else {"greedy": False, "uniform_top_k": False}
    chosen = values.keys() & {"temperature", "top_p", "min_p"}
    return override(preset, {**values, **draws} if chosen else values)
