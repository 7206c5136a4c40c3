"""What F2, F3 and Ctrl+B ask, and what then becomes of the answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chatui import catalog
from chatui.backends import servers
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.tui.adapter_names import author_of, with_adapters
from chatui.tui.model_names import shown_name
from chatui.tui.widgets.fetch_bar import FetchBar

if TYPE_CHECKING:
    from chatui.tui.app import ChatApp
    from chatui.tui.screens.chat import ChatScreen


async def choose_model(app: ChatApp) -> None:
    """F2: give the next round to the model that the user picks, or fetch it."""
    from chatui.tui.screens.models import ModelScreen

    bar = app.screen_stack[0].query_one(FetchBar)
    chosen = await app.push_screen_wait(
        ModelScreen(app.settings, app.turns.spec, app.first_spec, fetching=bar.running)
    )
    if isinstance(chosen, ModelSpec):
        _switch(app, chosen)
    elif isinstance(chosen, str):
        await switch_to(app, chosen)
    elif chosen is not None:
        bar.begin(chosen)


async def switch_to(app: ChatApp, reference: str) -> None:
    """Give the next round to the model that ``reference`` names, or say why that cannot be."""
    try:
        spec = servers.resolve(reference, app.settings)
        if spec is None:
            spec = await asyncio.to_thread(catalog.resolve, reference, app.settings)
    except ChatuiError as error:
        app.tell_user(str(error))
        return
    _switch(app, spec)


def _switch(app: ChatApp, spec: ModelSpec) -> None:
    """Give the next round to another model, and say so where the running one hides it."""
    if app.turns.replying:
        words = say("tui.models.next", model=shown_name(author_of(spec)))
        app.tell_user(words, "information")
    app.turns.switch(spec)


async def choose_adapters(app: ChatApp) -> None:
    """F3: put other adapters on the loaded base."""
    from chatui.tui.screens.adapters import AdaptersScreen

    spec = app.turns.spec
    if spec.backend != "local":
        app.tell_user(say("tui.adapters.not_here", model=shown_name(spec.name)), "information")
        return
    app.given_adapters = tuple(dict.fromkeys((*app.given_adapters, *spec.adapters)))
    chosen = await app.push_screen_wait(
        AdaptersScreen(app.settings, shown_name(spec.name), spec.adapters, app.given_adapters)
    )
    if chosen is not None and chosen != spec.adapters:
        _switch(app, with_adapters(spec, chosen))


async def choose_conversation(chat: ChatScreen) -> None:
    """Ctrl+B: open the conversation that the user picks; the open one may be gone by then."""
    from chatui.tui.screens.conversations import ConversationsScreen

    screen = ConversationsScreen(chat.app.store)
    chosen = await chat.app.push_screen_wait(screen)
    current = chat.app.turns.conversation
    if current is not None and current.id in screen.deleted:
        await chat.show_new()
    if chosen is not None:
        await chat.open_conversation(chosen)
    elif screen.renamed:
        chat.show_title_again()
