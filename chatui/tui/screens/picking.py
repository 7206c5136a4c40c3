"""What F2, F3 and Ctrl+B ask, and what then becomes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from textual.widgets import Input

from chatui import catalog
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.tui.model_names import display_name, reply_author, with_adapters
from chatui.tui.widgets.fetch_bar import FetchBar

if TYPE_CHECKING:
    from chatui.tui.screens.navigation_actions import NavigationActions
    from chatui.tui.screens.picker import Picker
    from chatui.tui.turns_app import TurnsApp
    from chatui.tui.widgets.conversation_list import ChosenConversation
    from chatui.tui.widgets.fetch_bar import Download


Result = TypeVar("Result")
Take = Callable[[Result | None], Awaitable[None]]


async def show(app: TurnsApp, picker: Picker[Result, Any], take: Take[Result]) -> None:
    """Put a list on the screen; the very next key already goes to its search box.

    Args:
        take: called with what the user chose, before any further key is looked at.
    """
    await app.push_screen(picker, take)
    picker.set_focus(picker.query_one(Input))


async def choose_model(app: TurnsApp) -> None:
    """F2: give the next round to the model that the user picks, or fetch it."""
    from chatui.tui.screens.model_picker import ModelPicker

    bar = app.screen_stack[0].query_one(FetchBar)

    async def take(chosen: str | ModelSpec | Download | None) -> None:
        if isinstance(chosen, ModelSpec):
            _switch(app, chosen)
        elif isinstance(chosen, str):
            await switch_to(app, chosen)
        elif chosen is not None:
            bar.begin(chosen)

    screen = ModelPicker(app.settings, app.turns.spec, app.turns.start_spec, bar)
    await show(app, screen, take)


async def switch_to(app: TurnsApp, reference: str) -> None:
    """Give the next round to the model that ``reference`` names, or say why that cannot be."""
    from chatui.backends import servers

    try:
        spec = servers.resolve(reference, app.settings)
        if spec is None:
            spec = await asyncio.to_thread(catalog.resolve, reference, app.settings)
    except ChatuiError as error:
        app.tell_user(str(error))
        return
    _switch(app, spec)


def _switch(app: TurnsApp, spec: ModelSpec) -> None:
    """Give the next round to another model, and say so where the running one hides it."""
    if app.turns.is_replying:
        words = say("tui.models.next", model=display_name(reply_author(spec)))
        app.tell_user(words, "information")
    app.turns.switch(spec)


async def choose_adapters(app: TurnsApp) -> None:
    """F3: put other adapters on the loaded base."""
    from chatui.tui.screens.adapter_picker import AdapterPicker

    spec = app.turns.spec
    if spec.backend != "local":
        app.tell_user(say("tui.adapters.not_here", model=display_name(spec.name)), "information")
        return
    app.known_adapters = tuple(dict.fromkeys((*app.known_adapters, *spec.adapters)))
    name = display_name(spec.name)
    screen = AdapterPicker(app.settings, name, spec.adapters, app.known_adapters, spec.name)

    async def take(chosen: tuple[Adapter, ...] | None) -> None:
        if chosen is not None and chosen != spec.adapters:
            _switch(app, with_adapters(spec, chosen))

    await show(app, screen, take)


async def put_on(app: TurnsApp, words: str) -> None:
    """Put the adapter that ``PATH[@SCALE]`` names on the base, in place of all others."""
    from chatui.catalog.adapters import named_adapter

    try:
        adapter = await asyncio.to_thread(named_adapter, words)
    except ChatuiError as error:
        app.tell_user(str(error))
        return
    app.known_adapters = tuple(dict.fromkeys((*app.known_adapters, adapter)))
    _switch(app, with_adapters(app.turns.spec, (adapter,)))


async def choose_conversation(chat: NavigationActions, words: str = "") -> None:
    """Ctrl+B: open the conversation that the user picks; the open one may be gone by then.

    Args:
        words: what to search for at first.
    """
    from chatui.tui.screens.conversations import ConversationPicker

    screen = chat.open_list = ConversationPicker(chat.app.store, chat.app.turns.drop_conversation)

    async def take(chosen: ChosenConversation | None) -> None:
        chat.open_list = None
        current = chat.app.turns.conversation
        if current is not None and current.id in screen.deleted:
            await chat.show_new()
        if chosen is not None:
            await chat.open_place(chosen)
        elif screen.renamed:
            await chat.show_title_again()

    await show(chat.app, screen, take)
    if words:
        screen.query_one(Input).value = words
