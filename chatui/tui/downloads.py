"""A model that is to be fetched from a hub, and how much that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from chatui import catalog, readable
from chatui.catalog.fetching import FetchEvent, FetchPlan, fetch
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings


@dataclass(frozen=True)
class Download:
    """A download that goes on when its events are asked for.

    Attributes:
        name: the preset, or a hub id.
        plan: what is fetched.
        events: how it goes; closing them ends it and keeps what came.
        settings: that the model is to run with.
    """

    name: str
    plan: FetchPlan
    events: AsyncGenerator[FetchPlan | FetchEvent, None]
    settings: Settings

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
            words += say("tui.fetch.kept", kept=readable.size(plan.kept_bytes))
        return "\n\n".join((words, *plan.notes))

    async def why_unusable(self) -> str:
        """Why the model cannot run although it was fetched; "" where it can."""
        try:
            await asyncio.to_thread(catalog.resolve, self.name, self.settings)
        except ChatuiError as error:
            return str(error)
        return ""


async def prepare(name: str, settings: Settings) -> Download:
    """Ask the hubs what there is to fetch.

    Raises:
        ChatuiError: they cannot be reached, do not have it, or the disk has no room for it.
    """
    events = cast(AsyncGenerator[FetchPlan | FetchEvent, None], fetch(name, settings))
    return Download(name, cast(FetchPlan, await anext(events)), events, settings)
