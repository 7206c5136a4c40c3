"""``chatui ask``: send one query and write the reply to standard output while it streams."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from chatui.cli import request, session
from chatui.cli.exit_codes import INTERRUPTED, SUCCESS
from chatui.cli.output import write, write_json, write_stderr
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Done, Loaded, Prefill, Token


def run(args: argparse.Namespace) -> int:
    query = request.read_query(args.query, args.encoding)
    settings = request.settings_of(args)
    spec = request.spec_of(args, settings)
    asked = request.request_of(args, query, spec)

    record = None
    if args.record:
        from chatui.cli.ask_record import AskRecord

        record = AskRecord(Path(args.record), asked)

    async def work(interrupt: session.InterruptHandler) -> int:
        reply = ReplyOutput(streamed=not args.json)
        began = time.perf_counter()
        async with session.loaded_model(spec, interrupt) as (backend, model):
            load_seconds = time.perf_counter() - began
            interrupt.replying = True
            if record is not None:
                record.begin(spec, model)
            try:
                async for event in backend.generate(asked):
                    reply.handle_event(event)
                    if record is not None:
                        record.handle_event(event)
            except ChatuiError as error:
                reply.error = str(error)
                raise
            finally:
                reply.finish()
                if record is not None:
                    await record.finish(reply.error)
                if args.json:
                    write_json(reply.as_json(model, load_seconds))
        return INTERRUPTED if interrupt.seen else SUCCESS

    try:
        return session.run(work)
    finally:
        if record is not None:
            record.close()


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
        return failure | {
            "text": done.text,
            "output_ids": done.output_ids,
            "finish_reason": done.finish_reason,
            "seed": done.seed,
            "prompt_tokens": done.prompt_tokens,
            "output_tokens": done.output_tokens,
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
