"""The settings of a conversation that differ from its model's preset; recorded with each round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.sampling import SETTINGS, SamplingSettings, override, override_by_user
from chatui.text import one_line


@dataclass(frozen=True)
class SettingChanges:
    """The changed settings of one conversation.

    Attributes:
        system: the system prompt; None keeps the preset's.
        stop_strings: stop strings added to the preset's.
        window: the maximum of prompt and reply together, in tokens; None is the model's.
        sampling: the changed fields of ``SamplingSettings``, by name.
    """

    system: str | None = None
    stop_strings: tuple[str, ...] = ()
    window: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def sampling_for(self, spec: ModelSpec) -> SamplingSettings:
        """Return the sampling settings of a reply.

        Raises:
            ChatuiError: a value is out of range.
        """
        return override_by_user(spec.sampling, self.sampling)

    def with_setting(self, name: str, value: Any, preset: SamplingSettings) -> SettingChanges:
        """Change a sampling setting; the preset's own value removes the change.

        Raises:
            ChatuiError: the value is out of range.
        """
        override(preset, {name: value})
        rest = {key: kept for key, kept in self.sampling.items() if key != name}
        changed = {} if value == getattr(preset, name) else {name: value}
        return replace(self, sampling=rest | changed)

    def to_record(self) -> dict[str, Any]:
        """Return the changes for a round's record; inverse of :func:`changes_from_record`."""
        stops = list(self.stop_strings)
        changes = {"changed": sorted(self.sampling), "stop_strings": stops, "window": self.window}
        found: dict[str, Any] = {name: value for name, value in changes.items() if value}
        return found if self.system is None else found | {"system": self.system}


def changes_from_record(recorded: Mapping[str, Any]) -> SettingChanges:
    """Read the changes from a round's record, and skip invalid ones."""
    names, stops, system = (recorded.get(key) for key in ("changed", "stop_strings", "system"))
    sampling = {
        name: recorded[name]
        for name, setting in SETTINGS.items()
        if isinstance(names, list) and name in names
        if name in recorded and setting.allows(recorded[name])
    }
    strings = stops if isinstance(stops, list) else []
    window = recorded.get("window")
    return SettingChanges(
        system if isinstance(system, str) else None,
        tuple(stop for stop in strings if isinstance(stop, str) and stop),
        window if type(window) is int and SETTINGS["max_new_tokens"].allows(window) else None,
        sampling,
    )


NO_CHANGES = SettingChanges()


def parse_setting(name: str, words: str) -> float | int:
    """Convert the typed value of a sampling setting.

    Raises:
        ChatuiError: it is not a number.
    """
    kind = SETTINGS[name].kind
    try:
        return int(words) if kind is int else float(words)
    except ValueError as error:
        shown = one_line(words, 40)
        wanted = SETTINGS[name].range
        raise ChatuiError(
            say("settings.out_of_range", name=name, value=shown, range=wanted)
        ) from error
