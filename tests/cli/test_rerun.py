"""``chatui replay --rerun`` of the app's transcripts: a continued reply and later rounds."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import forked_engine
import pytest
from command import Chatui

from chatui.backends.local import LocalBackend
from chatui.conversation.exports import write_atomically
from chatui.conversation.rounds import Round
from chatui.conversation.store import Store
from chatui.conversation.transcript_writer import to_lines
from chatui.messages import Loaded, ModelSpec
from chatui.tui.queries import OpenConversation, Query
from chatui.tui.setting_changes import SettingChanges


async def converse(store: Store, spec: ModelSpec) -> int:
    """Rounds of the app: cut off, continued, with another token, edited and continued."""
    backend = forked_engine.forking(LocalBackend())
    loaded = [event async for event in backend.load(spec)][-1]
    assert isinstance(loaded, Loaded)
    here = OpenConversation(changes=SettingChanges(sampling={"max_new_tokens": 5, "seed": 3}))

    async def ask(query: Query) -> Round:
        reply, request = await query.begin_reply(
            store, lambda _: None, spec, loaded, alternatives=4
        )
        await reply.run(backend, request)
        await reply.wait_until_saved()
        return reply.round

    cut = await ask(Query(here, "春眠"))
    assert cut.finish_reason == "length"
    on = await ask(Query(here, "春眠", cut, continues_reply=True))
    assert on.reply.startswith(cut.reply) and len(on.reply) > len(cut.reply)
    third = store.pieces(on.id)[2]
    other = next(id for id, *_ in store.pieces(cut.id)[2].alternatives if id != third.token_id)
    await ask(Query(here, "春眠", on, continues_reply=True, replaced_token=(2, other)))
    last = await ask(Query(here, "再来"))
    written = store.add_round(here.id, last.parent_id, "再来", last.model, last.format)
    written = store.finish_round(replace(written, state="done", reply="床前"))
    last = await ask(Query(here, "再来", written, continues_reply=True))
    assert last.reply.startswith("床前") and len(last.reply) > 2
    await backend.close()
    assert here.id is not None
    return here.id


@pytest.mark.usefixtures("engines")
def test_a_continued_reply_is_continued_again(chatui: Chatui, tiny: str, tmp_path: Path) -> None:
    store = Store(None)
    conversation = asyncio.run(converse(store, ModelSpec("tiny", tiny, format="shiyou")))
    whole = store.transcript(conversation)
    rerun = ("--rerun", "--model", tiny, "--format", "shiyou", "--lang", "en")
    # Every version is looked at once.
    for number, each in enumerate(whole.rounds):
        head = replace(whole.conversation, head_id=each.id)
        file = tmp_path / f"{number}.jsonl"
        write_atomically(file, "".join(to_lines(replace(whole, conversation=head))))
    files = [str(tmp_path / f"{number}.jsonl") for number in (0, 1, 2, 5)]
    done = chatui("replay", *files, *rerun)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "5 replies are the same as recorded." in done.stdout
