"""The sampling settings of a reply, with their ranges, options and server fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

_LARGEST_INT = 2**31 - 1
_GREEDY_BELOW = 1e-3
"""Temperatures below this are greedy; dividing by them would overflow float32."""


@dataclass(frozen=True)
class Setting:
    """Type, range, command line option and server fields of a setting.

    Attributes:
        kind: type of its values; a float setting accepts an int too.
        minimum, maximum: range of a number, inclusive.
        exclusive_minimum: the command line option refuses ``minimum`` itself. Files may contain
            it: with a ``top_p`` of 0 ChatRWKV takes the best token.
        optional: None is allowed.
        metavar: placeholder of the command line option ``--name``, described by
            ``cli.option.name``; "" for a flag, None for a setting without an option.
        server_fields: field names in requests to OpenAI-compatible servers.
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
        """The allowed values, as text for the user."""
        if self.kind in (bool, str):
            return say(f"settings.range.{self.kind.__name__}")
        number = say("settings.range.whole" if self.kind is int else "settings.range.number")
        key = "settings.range.above_to" if self.exclusive_minimum else "settings.range.from_to"
        return say(key, number=number, minimum=self.minimum, maximum=self.maximum)

    def allows(self, value: object) -> bool:
        """True if ``value`` has the right type and lies in the range."""
        if value is None:
            return self.optional
        if self.kind in (bool, str) or isinstance(value, (bool, str)):
            return isinstance(value, self.kind) and isinstance(value, bool) == (self.kind is bool)
        if not isinstance(value, (int, float) if self.kind is float else int):
            return False
        # False for NaN.
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
    """How the next token is chosen: a preset's defaults with the user's overrides.

    Attributes:
        temperature: divides the logits; 0 means greedy.
        top_k: keep the k best tokens; 0 keeps all.
        top_p: keep the smallest set of tokens whose probabilities reach this sum; 1 keeps all.
        min_p: keep tokens with at least this share of the best probability; 0 keeps all.
        repetition_penalty: CTRL's penalty on tokens in prompt or reply; 1 is none.
        presence_penalty: subtracted once from the logit of each token already in the reply.
        frequency_penalty: subtracted for each earlier occurrence in the reply.
        penalty_decay: factor on the occurrence counts at each token (ChatRWKV: 0.996).
        no_repeat_ngram_size: n-grams of this size occur only once; 0 disables it.
        temperature_last: apply the temperature after top-k, top-p and min-p instead of before
            them, as ChatRWKV does.
        avoid_repeat: characters that may not occur twice in a row, if each is a single token
            (ChatRWKV: 「，：？！」).
        newline_bias: ChatRWKV's rule for the end of a chat reply: no end token; a newline is
            impossible at first, unlikely within 40 tokens and increasingly likely after 150.
        uniform_top_k: choose among the ``top_k`` best with equal probability.
        greedy: always take the best token, after the penalties.
        max_new_tokens: limit of the reply in tokens; None uses the context window.
        seed: makes the reply reproducible; None draws a new one.

    Raises:
        ChatuiError: a value has a wrong type or lies outside its range.
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
        """True if the best token is always taken."""
        return self.greedy or self.temperature < _GREEDY_BELOW

    def active_settings(self) -> dict[str, float | int | bool | str]:
        """Return the settings that have an effect, by name."""
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
"""All settings by name, in display order."""

DEFAULTS = SamplingSettings()
"""Settings without any effect."""


def override(sampling: SamplingSettings, values: Mapping[str, object]) -> SamplingSettings:
    """Return ``sampling`` with ``values`` by name.

    Raises:
        ChatuiError: a name is unknown, or a value is invalid.
    """
    for name in values:
        if name not in SETTINGS:
            shown = one_line(name, 60)
            raise ChatuiError(say("settings.unknown_sampling", name=shown))
    return replace(sampling, **dict[str, Any](values))


def override_by_user(preset: SamplingSettings, values: Mapping[str, object]) -> SamplingSettings:
    """Return a preset's sampling with the values that the user set.

    A temperature, top-p or min-p turns off the preset's ``greedy`` and ``uniform_top_k``, with
    which it would have no effect, unless the user sets ``greedy`` too.

    Raises:
        ChatuiError: as :func:`override`.
    """
    draws = {} if values.keys() & {"greedy"} else {"greedy": False, "uniform_top_k": False}
    chosen = values.keys() & {"temperature", "top_p", "min_p"}
    return override(preset, {**values, **draws} if chosen else values)
