"""A model that is to be fetched from a hub: whether it can be, and how much that is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from chatui.catalog import Entry, library
from chatui.catalog.fetching import FetchEvent, FetchPlan, fetch, readable
from chatui.catalog.resolving import missing_parts
from chatui.locales import say
from chatui.settings import Settings


@dataclass(frozen=True)
class Download:
    """A download that goes on when its events are asked for.

    Attributes:
        name: the preset.
        plan: what is fetched.
        events: how it goes; closing them ends it and keeps what came.
    """

    name: str
    plan: FetchPlan
    events: AsyncGenerator[FetchPlan | FetchEvent, None]

    @property
    def question(self) -> str:
        """Whether to begin, with the size."""
        plan = self.plan
        hosts = dict.fromkeys(
            urlsplit(one.endpoint).netloc.rpartition("@")[2] for one in plan.repositories
        )
        words = say(
            "tui.fetch.question",
            name=self.name,
            files=len(plan.files),
            total=readable.size(plan.total_bytes),
            where=", ".join(hosts),
        )
        if plan.kept_bytes:
            words += " " + say("tui.fetch.kept", kept=readable.size(plan.kept_bytes))
        return "\n\n".join((words, *plan.notes))


def can_be_fetched(entry: Entry, settings: Settings) -> bool:
    """Whether all that a preset lacks lies on a hub, and it would run then."""
    preset = library.load().find(entry.reference) if entry.kind == "preset" else None
    if preset is None or preset.facts.lacks:
        return False
    missing = missing_parts(preset, settings)
    return bool(missing) and all(part.on_hub for part in missing)


async def prepare(name: str, settings: Settings) -> Download:
    """Ask the hubs what there is to fetch.

    Raises:
        ChatuiError: they cannot be reached, do not have it, or the disk has no room for it.
    """
    events = cast(AsyncGenerator[FetchPlan | FetchEvent, None], fetch(name, settings))
    return Download(name, cast(FetchPlan, await anext(events)), events)
