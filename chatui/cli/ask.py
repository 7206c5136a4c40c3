"""``chatui ask``: send one query and write the reply to standard output while it streams."""

from __future__ import annotations

import argparse
import time
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chatui.cli import request, session
from chatui.cli.exit_codes import INTERRUPTED, SUCCESS
from chatui.cli.output import write, write_json, write_stderr
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Done, GenerateRequest, Loaded, ModelSpec, Prefill, Token

if TYPE_CHECKING:
    from chatui.conversation.transcript_recorder import RecordingStore
    from chatui.tui.running_reply import RunningReply


def run(args: argparse.Namespace) -> int:
    query = request.read_query(args.query, args.encoding)
    settings = request.settings_of(args)
    spec = request.spec_of(args, settings)
    asked = request.request_of(args, query, spec)
    record = _open_record(Path(args.record)) if args.record else None

    async def work(interrupt: session.InterruptHandler) -> int:
        reply = ReplyOutput(streamed=not args.json)
        began = time.perf_counter()
        async with session.loaded_model(spec, interrupt) as (backend, model):
            load_seconds = time.perf_counter() - began
            interrupt.replying = True
            recorded = _begin_round(record, asked, spec, model) if record else None
            try:
                async for event in backend.generate(asked):
                    if recorded is not None:
                        recorded.handle_event(event)
                    reply.handle_event(event)
            except ChatuiError as error:
                reply.error = str(error)
                raise
            finally:
                if recorded is not None:
                    recorded.end("failed" if reply.error else "stopped", error=reply.error or None)
                    await recorded.wait_until_saved()
                reply.finish()
                if args.json:
                    write_json(reply.as_json(model, load_seconds))
        return INTERRUPTED if interrupt.seen else SUCCESS

    with closing(record) if record else nullcontext():
        return session.run(work)


def _open_record(file: Path) -> RecordingStore:
    """Create the transcript of ``--record``.

    The first error on writing is reported; the reply continues without a record.

    Raises:
        ChatuiError: the file exists or cannot be created.
    """
    from chatui.conversation.transcript_recorder import RecordingStore, TranscriptRecorder

    store = RecordingStore(None, TranscriptRecorder(file))
    store.on_problem = lambda problem: write_stderr(str(problem))
    return store


def _begin_round(
    store: RecordingStore, asked: GenerateRequest, spec: ModelSpec, model: Loaded
) -> RunningReply:
    """Record the history and the query as the app records its rounds; the reply follows."""
    from chatui.catalog.model_description import model_description
    from chatui.tui.running_reply import RunningReply
    from chatui.tui.turn_messages import ErrorOccurred, TurnMessage

    def report(message: TurnMessage) -> None:
        if isinstance(message, ErrorOccurred):
            write_stderr(message.sentence)

    conversation = parent = None
    for query, reply in asked.history:
        earlier = store.add_round(conversation, parent, query)
        store.finish_round(replace(earlier, state="done", reply=reply))
        conversation, parent = earlier.conversation_id, earlier.id
    store.set_model(partial(model_description, spec, model))
    think = {} if asked.think is None else {"think": asked.think}
    sampling = asdict(asked.sampling) | think
    begun = store.add_round(conversation, parent, asked.query, model.name, model.format, sampling)
    return RunningReply(begun, store, report)


class ReplyOutput:
    """Collects a reply, and writes it to standard output if ``streamed``.

    White space at both ends is not written, as in the saved reply.
    """

    def __init__(self, *, streamed: bool) -> None:
        self._streamed = streamed
        self._text = ""
        self._written = 0
        self._ids: list[int] = []
        self.prefill = Prefill("")
        self.done: Done | None = None
        self.error = ""

    def handle_event(self, event: Prefill | Token | Done) -> None:
        """Handle the next event of the reply."""
        if isinstance(event, Prefill):
            self.prefill = event
            for note in event.notes:
                write_stderr(note)
            if event.dropped_rounds:
                write_stderr(
                    say("cli.dropped", rounds=event.dropped_rounds, limit=event.context_limit)
                )
        elif isinstance(event, Token):
            self._text += event.text
            self._ids.append(event.id)
            shown = self._text.strip() if self._streamed else ""
            if len(shown) > self._written:
                write(shown[self._written :])
                self._written = len(shown)
        else:
            self.done = event

    def finish(self) -> None:
        """End the line of a streamed reply."""
        if self._written:
            write("\n")

    def as_json(self, model: Loaded, load_seconds: float) -> dict[str, object]:
        """Return the reply, its prompt and its settings; ``error`` is set if it failed.

        Times are in seconds: ``load`` from the start of the engine's process until the model is
        ready, ``first_token`` and ``total`` from the request on.
        """
        done = self.done or Done(
            self._text.strip(),
            "cancelled",
            tuple(self._ids) if -1 not in self._ids else (),
            self.prefill.seed,
            self.prefill.prompt_tokens,
            len(self._ids),
        )
        failure = {"error": self.error} if self.error else {}
        names = ("text", "output_ids", "finish_reason", "seed", "prompt_tokens", "output_tokens")
        return failure | {
            **{name: getattr(done, name) for name in names},
            "timings": {
                "load": load_seconds,
                "first_token": done.first_token_seconds,
                "total": done.total_seconds,
            },
            "model": model.name,
            "format": model.format,
            "prompt": self.prefill.prompt,
            "dropped_rounds": self.prefill.dropped_rounds,
            "context_limit": self.prefill.context_limit or model.context_limit,
        }
