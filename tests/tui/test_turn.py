"""The turns, without a screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from saved_conversations import SPEC as REAL_SPEC
from scripted_backend import ScriptedBackend

from chatui.backends import registry
from chatui.cli.request import read_history
from chatui.conversation import exports
from chatui.conversation.rounds import Piece
from chatui.conversation.store import Store
from chatui.conversation.transcript_writer import to_lines
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import LoadEvent, Loading, ModelSpec
from chatui.tui.comparison import ComparingTurns as Turns
from chatui.tui.setting_changes import SettingChanges, changes_from_record
from chatui.tui.turn_messages import ErrorOccurred, LoadFailed, RoundBegun, RoundEnded, TurnMessage
from chatui.tui.widgets.round_note import exclusion_reason

SPEC = ModelSpec("shiyou", "/models/shiyou")


class RunningTurns:
    """Turns with a scripted backend, and their messages."""

    def __init__(self, backend: ScriptedBackend, store: Store) -> None:
        self.backend = backend
        self.store = store
        self.messages: list[TurnMessage] = []
        self.turns = Turns(SPEC, store, lambda name: backend, self.messages.append)

    def messages_of(self, kind: type) -> list[TurnMessage]:
        return [message for message in self.messages if isinstance(message, kind)]

    def is_held(self) -> bool:
        """Return whether a reply waits after its first three pieces."""
        return self.turns.reply is not None and len(self.turns.reply.pieces) == 3

    async def until(self, condition: Callable[[], object]) -> None:
        async def poll() -> None:
            while not condition():  # noqa: ASYNC110  # the condition may be anything
                await asyncio.sleep(0.002)

        await asyncio.wait_for(poll(), 30)

    async def settled(self) -> None:
        await asyncio.sleep(0)
        await self.until(lambda: not self.turns.is_busy)


def held(*replies: str) -> ScriptedBackend:
    """Return a backend whose replies wait after three pieces until the gate opens."""
    backend = ScriptedBackend(replies)
    backend.hold_after = 3
    return backend


@asynccontextmanager
async def running_turns(
    backend: ScriptedBackend | None = None, store: Store | None = None
) -> AsyncIterator[RunningTurns]:
    running = RunningTurns(backend or ScriptedBackend(), store or Store(None))
    task = asyncio.ensure_future(running.turns.run())
    try:
        yield running
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_query_becomes_a_saved_round() -> None:
    async with running_turns(ScriptedBackend(["春风又绿"])) as on:
        on.turns.ask("写诗")
        await on.settled()
        assert on.turns.conversation is not None
        (round_,) = on.store.rounds(on.turns.conversation.id)
        assert (round_.query, round_.reply, round_.state) == ("写诗", "春风又绿", "done")
        assert (round_.model, round_.format, round_.seed) == ("shiyou", "chatglm-6b", 7)
        assert (round_.prompt_tokens, round_.reused_tokens, round_.output_tokens) == (10, 4, 4)
        assert [piece.text for piece in on.store.pieces(round_.id)] == list("春风又绿")
        kinds = [type(message).__name__ for message in on.messages]
        assert kinds.index("ModelReady") < kinds.index("RoundBegun") < kinds.index("PromptRead")
        assert kinds[-1] == "RoundEnded"


async def test_the_history_is_the_finished_rounds_of_the_branch() -> None:
    async with running_turns(ScriptedBackend(["一", "二", "三"])) as on:
        for query in ("甲", "乙", "丙"):
            on.turns.ask(query)
        await on.settled()
        assert on.backend.requests[-1].history == (("甲", "一"), ("乙", "二"))


async def test_the_history_leaves_out_thoughts_and_keeps_plugin_parts() -> None:
    moss = "<|Inner Thoughts|>: None<eot>\n<|MOSS|>: 好"
    replies = ["<think>想</think>\n一", "<think>想到一半", moss, "三"]
    async with running_turns(ScriptedBackend(replies)) as on:
        for query in ("甲", "乙", "丙", "丁"):
            on.turns.ask(query)
        await on.settled()
        assert on.backend.requests[-1].history == (("甲", "一"), ("丙", moss))
        assert [round_.round.reply for round_ in on.messages_of(RoundEnded)] == replies


async def test_the_text_of_a_failed_reply_is_in_the_next_prompt() -> None:
    async with running_turns(ScriptedBackend(["春风又绿", "好"])) as on:
        on.backend.fail_after = 2
        on.turns.ask("甲")
        await on.settled()
        (ended,) = on.messages_of(RoundEnded)
        assert (ended.round.state, ended.round.reply) == ("failed", "春风")
        assert ended.round.error == "The engine died (code 1)."
        on.backend.fail_after = None
        on.turns.ask("乙")
        await on.settled()
        assert on.backend.requests[-1].history == (("甲", "春风"),)
        assert len(on.backend.specs) == 2, "a dead engine is loaded again by the next query"


async def test_a_reply_without_text_is_left_out_and_marked() -> None:
    async with running_turns(ScriptedBackend(["春", " \n", "好"])) as on:
        on.backend.fail_after = 0
        on.turns.ask("甲")
        await on.settled()
        on.backend.fail_after = None
        on.turns.ask("乙")
        on.turns.ask("丙")
        await on.settled()
        assert on.backend.requests[-1].history == ()
        marks = [exclusion_reason(ended.round) for ended in on.messages_of(RoundEnded)]
        assert marks == [say("tui.round.empty")] * 2 + [""]


async def test_the_text_of_an_interrupted_reply_is_in_the_next_prompt(tmp_path: Path) -> None:
    dead = Store(tmp_path / "conversations.db")
    begun = dead.add_round(None, None, "甲")
    conversation = begun.conversation_id
    dead.append_pieces(begun.id, [Piece(0, "春风")])
    dead.close()
    async with running_turns(ScriptedBackend(["好"]), Store(tmp_path / "conversations.db")) as on:
        (shown,) = await on.turns.open(conversation)
        assert (shown.state, shown.reply, exclusion_reason(shown)) == ("interrupted", "春风", "")
        on.turns.ask("乙")
        await on.settled()
        assert on.backend.requests[-1].history == (("甲", "春风"),)
        file = tmp_path / "exported.json"
        file.write_text("".join(to_lines(on.store.transcript(conversation))))
        assert read_history(str(file)) == (("甲", "春风"), ("乙", "好"))
        exported = exports.to_markdown(on.store.transcript(conversation))
        assert "春风\n\n*interrupted*" in exported
        assert [hit.match for hit in on.store.search("春风")] == ["春风"]


async def test_a_lost_model_is_loaded_again_before_the_reply() -> None:
    async with running_turns(ScriptedBackend(["一", "二"])) as on:
        on.turns.ask("甲")
        await on.settled()
        on.backend.gone = True
        on.turns.ask("乙")
        await on.settled()
        assert [message.round.state for message in on.messages_of(RoundEnded)] == ["done", "done"]
        assert [message.round.reply for message in on.messages_of(RoundEnded)] == ["一", "二"]
        assert len(on.backend.specs) == 2


async def test_a_lost_model_that_cannot_be_loaded_again_fails_the_round() -> None:
    async with running_turns() as on:
        await on.settled()
        on.backend.gone, on.backend.refuse_load = True, "There is no memory left."
        on.turns.ask("甲")
        await on.settled()
        (ended,) = on.messages_of(RoundEnded)
        assert ended.round.state == "failed" and "Ctrl+R" in (ended.round.error or "")
        assert [message.sentence for message in on.messages_of(LoadFailed)] == [
            "There is no memory left."
        ]
        on.backend.refuse_load = ""
        on.turns.regenerate(ended.round)
        await on.settled()
        assert on.messages_of(RoundEnded)[-1].round.state == "done"


async def test_a_reply_stopped_during_a_reload_causes_no_second_load() -> None:
    async with running_turns() as on:
        await on.settled()
        on.backend.gone = True
        on.backend.load_gate.clear()
        on.turns.ask("甲")
        await on.until(lambda: len(on.backend.specs) == 2)
        on.turns.stop()
        await on.until(lambda: on.messages_of(RoundEnded))
        on.backend.load_gate.set()
        await on.settled()
        on.turns.ask("乙")
        await on.settled()
        assert [message.round.state for message in on.messages_of(RoundEnded)] == [
            "stopped",
            "done",
        ]
        assert len(on.backend.specs) == 2


async def test_of_two_models_chosen_during_a_reload_the_later_one_answers() -> None:
    async with running_turns(ScriptedBackend(delay_seconds=0.05)) as on:
        await on.settled()
        on.backend.gone = True
        on.backend.load_gate.clear()
        on.turns.ask("甲")
        await on.until(lambda: on.messages_of(RoundBegun))
        on.turns.switch(ModelSpec("xuxie", "/models/shiyou"))
        await on.until(lambda: len(on.backend.specs) == 2)
        on.turns.switch(ModelSpec("belle", "/models/belle"))
        on.backend.load_gate.set()
        await on.settled()
        assert on.turns.spec.name == "belle"


async def test_a_refused_query_does_not_load_the_model_again() -> None:
    async with running_turns() as on:
        on.backend.refuse_query = "The query has 9,000 tokens; 512 fit."
        on.turns.ask("长")
        await on.settled()
        on.backend.refuse_query = ""
        on.turns.ask("短")
        await on.settled()
        first, second = (message.round for message in on.messages_of(RoundEnded))
        assert (first.state, second.state) == ("failed", "done")
        assert len(on.backend.specs) == 1


async def test_stop_keeps_the_text_so_far() -> None:
    async with running_turns(held("春" * 9)) as on:
        on.turns.ask("写诗")
        await on.until(on.is_held)
        on.turns.stop()
        on.backend.reply_gate.set()
        await on.settled()
        (ended,) = on.messages_of(RoundEnded)
        assert (ended.round.state, ended.round.reply) == ("stopped", "春" * 3)
        assert ended.round.finish_reason == "cancelled"


async def test_stop_does_not_wait_for_a_backend_that_ignores_it() -> None:
    async with running_turns(held("春" * 9, "夏")) as on:
        on.backend.deaf = True
        on.turns.ask("写诗")
        await on.until(on.is_held)
        on.turns.stop()
        await on.until(lambda: on.messages_of(RoundEnded))
        on.turns.ask("再来")
        on.backend.reply_gate.set()
        await on.settled()
        first, second = (message.round for message in on.messages_of(RoundEnded))
        assert (first.state, second.state, second.reply) == ("stopped", "done", "夏")
        assert first.reply == "春" * 3, "later text of the backend is not shown"


async def test_queries_wait_for_the_model_and_for_each_other() -> None:
    backend = ScriptedBackend(["一", "二"])
    backend.load_gate.clear()
    async with running_turns(backend) as on:
        on.turns.ask("甲")
        on.turns.ask("乙")
        await asyncio.sleep(0.02)
        assert list(on.turns.waiting) == ["甲", "乙"]
        assert not on.messages_of(RoundBegun)
        backend.load_gate.set()
        await on.settled()
        assert [message.round.query for message in on.messages_of(RoundEnded)] == ["甲", "乙"]


async def test_stop_gives_the_waiting_queries_back() -> None:
    async with running_turns(held("春" * 9)) as on:
        on.turns.ask("甲")
        await on.until(on.is_held)
        on.turns.ask("乙")
        on.turns.ask("丙")
        assert on.turns.stop() == ("乙", "丙")
        on.backend.reply_gate.set()
        await on.settled()
        assert len(on.messages_of(RoundEnded)) == 1


async def test_regenerate_adds_a_version() -> None:
    async with running_turns(ScriptedBackend(["一", "二", "三"])) as on:
        on.turns.ask("甲")
        on.turns.ask("乙")
        await on.settled()
        last = on.messages_of(RoundEnded)[-1].round
        on.turns.regenerate(last)
        await on.settled()
        again = on.messages_of(RoundEnded)[-1].round
        assert (again.query, again.reply, again.parent_id) == ("乙", "三", last.parent_id)
        assert on.backend.requests[-1].history == (("甲", "一"),)
        assert [sibling.id for sibling in on.store.siblings(last.id)] == [last.id, again.id]
        assert on.turns.current.head_id == again.id


async def test_go_to_version_shows_an_earlier_version() -> None:
    async with running_turns(ScriptedBackend(["一", "二"])) as on:
        on.turns.ask("甲")
        await on.settled()
        first = on.messages_of(RoundEnded)[-1].round
        on.turns.regenerate(first)
        await on.settled()
        (shown,) = await on.turns.go_to_version(on.messages_of(RoundEnded)[-1].round, -1)
        assert shown.reply == "一"
        on.turns.ask("乙")
        await on.settled()
        assert on.backend.requests[-1].history == (("甲", "一"),)


async def test_switch_gives_the_next_round_to_the_new_model() -> None:
    async with running_turns(held("春" * 9, "二")) as on:
        on.turns.ask("甲")
        await on.until(on.is_held)
        on.turns.switch(ModelSpec("xuxie", "/models/shiyou"))
        on.turns.ask("乙")
        on.backend.reply_gate.set()
        await on.settled()
        models = [message.round.model for message in on.messages_of(RoundEnded)]
        assert models == ["shiyou", "xuxie"]


async def test_after_a_failed_load_the_previous_model_answers() -> None:
    async with running_turns(ScriptedBackend(["一"])) as on:
        await on.settled()
        on.backend.refuse_load = "There is no model in /models/none."
        on.turns.switch(ModelSpec("none", "/models/none"))
        await on.settled()
        (failed,) = on.messages_of(LoadFailed)
        assert failed.sentence == "There is no model in /models/none."
        assert on.turns.spec == SPEC
        on.turns.ask("甲")
        await on.settled()
        assert on.messages_of(RoundEnded)[-1].round.model == "shiyou"


async def test_after_a_cancelled_load_the_previous_model_answers() -> None:
    async with running_turns(ScriptedBackend(["一"])) as on:
        await on.settled()
        on.backend.load_gate.clear()
        on.turns.switch(ModelSpec("huge", "/models/huge"))
        await on.until(lambda: len(on.backend.specs) == 2)
        on.turns.ask("甲")
        assert on.turns.cancel_load()
        await on.until(lambda: on.messages_of(LoadFailed))
        (failed,) = on.messages_of(LoadFailed)
        assert (failed.spec.name, failed.waiting) == ("huge", ("甲",))
        assert on.turns.spec == SPEC and on.backend.closed
        on.backend.load_gate.set()
        on.turns.ask("乙")
        await on.settled()
        assert on.messages_of(RoundEnded)[-1].round.model == "shiyou"
        assert not on.turns.cancel_load()


async def test_a_query_after_a_cancelled_first_load_loads_the_model() -> None:
    backend = ScriptedBackend(["一"])
    backend.load_gate.clear()
    async with running_turns(backend) as on:
        await on.until(lambda: backend.specs)
        assert on.turns.cancel_load()
        await on.settled()
        assert on.turns.loaded is None
        backend.load_gate.set()
        on.turns.ask("甲")
        await on.settled()
        assert on.messages_of(RoundEnded)[-1].round.state == "done"


async def test_loading_in_the_real_engine_is_cancelled_at_once(home: object, forking: None) -> None:
    messages: list[TurnMessage] = []
    spec = replace(REAL_SPEC, sampling=replace(REAL_SPEC.sampling, max_new_tokens=4))
    turns = Turns(spec, Store(None), registry.create, messages.append)
    running = asyncio.ensure_future(turns.run())

    async def until(condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    try:
        await asyncio.wait_for(until(lambda: turns.loaded), 60)
        turns.switch(replace(spec, name="wrong"))
        await until(lambda: turns.spec.name != "wrong" or turns.cancel_load())
        await asyncio.wait_for(until(lambda: turns.spec.name == spec.name), 30)
        turns.ask("写一首七言绝句")
        await asyncio.wait_for(until(lambda: not turns.is_busy), 60)
        (ended,) = [each.round for each in messages if isinstance(each, RoundEnded)]
        assert (ended.state, ended.model) == ("done", spec.name)
    finally:
        running.cancel()
        await turns.close()


async def test_the_first_load_fails_and_the_next_query_tries_again() -> None:
    backend = ScriptedBackend(["一"])
    backend.refuse_load = "The weights are truncated."
    async with running_turns(backend) as on:
        on.turns.ask("甲")
        await on.settled()
        (failed,) = on.messages_of(LoadFailed)
        assert failed.waiting == ("甲",)
        backend.refuse_load = ""
        on.turns.ask("甲")
        await on.settled()
        assert on.messages_of(RoundEnded)[-1].round.state == "done"


async def test_a_backend_that_reports_no_model_is_not_loaded_again_and_again() -> None:
    class Silent(ScriptedBackend):
        async def load(self, spec: ModelSpec) -> AsyncIterator[LoadEvent]:
            self.specs.append(spec)
            yield Loading("weights")

    async with running_turns(Silent()) as on:
        on.turns.ask("甲")
        await on.settled()
        (failed,) = on.messages_of(LoadFailed)
        assert (failed.waiting, len(on.backend.specs)) == (("甲",), 1)


async def test_a_store_that_cannot_be_written_gives_the_query_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_turns() as on:

        def full(*args: object, **kwargs: object) -> None:
            raise ChatuiError("The disk is full.")

        monkeypatch.setattr(on.store, "add_round", full)
        on.turns.ask("甲")
        await on.settled()
        (trouble,) = on.messages_of(ErrorOccurred)
        assert (trouble.sentence, trouble.queries) == ("The disk is full.", ("甲",))


async def test_a_disk_that_fills_up_during_a_reply_loses_no_text_on_the_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_turns(held("春" * 9)) as on:

        def full(*args: object, **kwargs: object) -> None:
            raise ChatuiError("The disk is full.")

        on.turns.ask("甲")
        await on.until(on.is_held)
        monkeypatch.setattr(on.store, "append_pieces", full)
        monkeypatch.setattr(on.store, "finish_round", full)
        on.backend.reply_gate.set()
        await on.settled()
        assert {message.sentence for message in on.messages_of(ErrorOccurred)} == {
            "The disk is full."
        }
        assert on.messages_of(RoundEnded)[-1].round.reply == "春" * 9


async def test_a_reply_continues_while_another_conversation_is_open() -> None:
    async with running_turns(held("春" * 9, "二")) as on:
        on.turns.ask("甲")
        await on.until(on.is_held)
        first = on.turns.conversation
        assert first is not None
        on.turns.start_new()
        assert on.turns.conversation is None and on.turns.reply_here is None
        assert on.turns.is_replying and not on.turns.is_replying_here
        (listed,) = on.store.conversations()
        assert listed.is_replying
        on.turns.ask("乙")
        assert on.turns.waiting == ("乙",)
        (streaming,) = await on.turns.open(first.id)
        assert (streaming.state, streaming.reply) == ("streaming", "春" * 3)
        assert on.turns.waiting == () and on.turns.is_replying_here
        on.backend.reply_gate.set()
        await on.settled()
        one, two = (ended.round for ended in on.messages_of(RoundEnded))
        assert (one.query, one.state, one.reply) == ("甲", "done", "春" * 9)
        assert (two.query, two.state, two.reply) == ("乙", "done", "二")
        assert one.conversation_id != two.conversation_id
        assert on.backend.requests[-1].history == ()
        assert on.store.rounds(first.id) == (one,)
        assert not any(each.is_replying for each in on.store.conversations())


async def test_waiting_queries_stay_in_their_conversation() -> None:
    async with running_turns(held("春" * 9, "二", "三")) as on:
        on.turns.ask("甲")
        on.turns.ask("乙")
        await on.until(on.is_held)
        first = on.turns.conversation
        assert first is not None
        on.turns.start_new()
        on.turns.ask("丙")
        on.backend.reply_gate.set()
        await on.settled()
        assert [each.query for each in on.store.rounds(first.id)] == ["甲", "乙"]
        assert on.turns.conversation is not None
        assert [each.query for each in on.store.rounds(on.turns.conversation.id)] == ["丙"]
        assert on.backend.requests[1].history == (("甲", "春" * 9),)


async def test_stop_affects_only_the_conversation_on_the_screen() -> None:
    async with running_turns(held("春" * 9, "二")) as on:
        on.turns.ask("甲")
        await on.until(on.is_held)
        first = on.turns.conversation
        assert first is not None
        on.turns.start_new()
        on.turns.ask("乙")
        assert on.turns.stop() == ("乙",)
        on.backend.reply_gate.set()
        await on.settled()
        (ended,) = on.messages_of(RoundEnded)
        assert ended.round.state == "done"
        assert [each.query for each in await on.turns.open(first.id)] == ["甲"]


async def test_deleting_a_conversation_ends_its_reply_without_an_error() -> None:
    async with running_turns(held("春" * 9, "二")) as on:
        on.turns.ask("甲")
        await on.until(on.is_held)
        first = on.turns.conversation
        assert first is not None
        on.turns.start_new()
        on.turns.drop_conversation(first.id)
        on.store.delete(first.id)
        on.turns.ask("乙")
        on.backend.reply_gate.set()
        await on.settled()
        assert on.messages_of(ErrorOccurred) == []
        assert [each.title for each in on.store.conversations()] == ["乙"]


async def test_close_saves_the_running_reply_and_closes_the_backend() -> None:
    async with running_turns(held("春" * 9)) as on:
        on.turns.ask("甲")
        await on.until(on.is_held)
        await on.turns.close()
        assert on.messages_of(RoundEnded)[-1].round.state == "stopped"
        assert on.backend.closed


async def test_thinking_is_recorded_with_the_round_and_used_to_regenerate_it() -> None:
    async with running_turns(ScriptedBackend(["一", "二", "三"])) as on:
        on.turns.think = False
        on.turns.ask("甲")
        await on.settled()
        on.turns.think = True
        on.turns.ask("乙")
        await on.settled()
        first, second = (message.round for message in on.messages_of(RoundEnded))
        assert (first.sampling["think"], second.sampling["think"]) == (False, True)
        on.turns.regenerate(first)
        await on.settled()
        assert [asked.think for asked in on.backend.requests] == [False, True, False]
        assert on.turns.conversation is not None
        written = "".join(to_lines(on.store.transcript(on.turns.conversation.id)))
        assert '"think":false' in written


async def test_a_round_without_recorded_thinking_is_regenerated_with_the_current_setting() -> None:
    async with running_turns(ScriptedBackend(["一", "二"])) as on:
        on.turns.ask("甲")
        await on.settled()
        (ended,) = on.messages_of(RoundEnded)
        assert "think" not in ended.round.sampling
        on.turns.think = False
        on.turns.regenerate(ended.round)
        await on.settled()
        assert [asked.think for asked in on.backend.requests] == [None, False]


def test_damaged_setting_changes_of_a_round_are_skipped() -> None:
    for window in (True, 0, 10**30):
        record = {"changed": [["seed"], None, "seed", "top_k"], "seed": 7, "top_k": "x"}
        changes = changes_from_record(record | {"window": window})
        assert changes == SettingChanges(sampling={"seed": 7})
