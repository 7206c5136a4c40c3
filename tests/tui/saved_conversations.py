"""Conversations for a store before the app starts."""

from __future__ import annotations

from dataclasses import replace

from chatui import locations
from chatui.conversation.store import Store
from chatui.messages import ModelSpec

SPEC = ModelSpec("shiyou", str(locations.assets_folder() / "shiyou"), format="shiyou")


def add_round(
    store: Store, conversation_id: int | None, parent: int | None, query: str, reply: str
) -> int:
    """Add a finished round to the store, and return its id."""
    begun = store.add_round(conversation_id, parent, query, model="shiyou", format="chatglm-6b")
    store.finish_round(replace(begun, state="done", reply=reply, finish_reason="eos"))
    return begun.id


def add_conversation(store: Store, *exchanges: tuple[str, str]) -> int:
    """Add a conversation to the store, and return its id."""
    id_ = parent = None
    for query, reply in exchanges:
        parent = add_round(store, id_, parent, query, reply)
        id_ = store.round(parent).conversation_id
    assert id_ is not None
    return id_
