"""The transcript of one ``chatui ask`` (``--record``), written while the reply streams."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from chatui.catalog.model_description import model_description
from chatui.cli.output import write_stderr
from chatui.conversation.transcript_recorder import RecordingStore, TranscriptRecorder
from chatui.messages import Done, GenerateRequest, Loaded, ModelSpec, Prefill, Token
from chatui.tui.running_reply import RunningReply
from chatui.tui.turn_messages import ErrorOccurred, TurnMessage


class AskRecord:
    """Records the history, the query and the reply of a request, as the app records its rounds.

    The first error on writing is reported; the reply continues without a record.
    """

    def __init__(self, file: Path, request: GenerateRequest) -> None:
        """Create the file.

        Raises:
            ChatuiError: the file exists or cannot be created.
        """
        self._request = request
        self._store = RecordingStore(None, TranscriptRecorder(file))
        self._store.on_problem = lambda problem: write_stderr(str(problem))
        self._reply: RunningReply | None = None

    def begin(self, spec: ModelSpec, model: Loaded) -> None:
        """Record the history and the query; ``model`` is the loaded model of ``spec``."""
        store, request = self._store, self._request
        conversation = parent = None
        for query, reply in request.history:
            earlier = store.add_round(conversation, parent, query)
            store.finish_round(replace(earlier, state="done", reply=reply))
            conversation, parent = earlier.conversation_id, earlier.id
        store.set_model(partial(model_description, spec, model))
        think = {} if request.think is None else {"think": request.think}
        sampling = asdict(request.sampling) | think
        begun = store.add_round(
            conversation, parent, request.query, model.name, model.format, sampling
        )
        self._reply = RunningReply(begun, store, _report)

    def handle_event(self, event: Prefill | Token | Done) -> None:
        """Record the next event of the reply."""
        assert self._reply is not None
        self._reply.handle_event(event)

    async def finish(self, error: str) -> None:
        """Record the end of the reply, caused by ``error`` if it is not ""."""
        assert self._reply is not None
        self._reply.end("failed" if error else "stopped", error=error or None)
        await self._reply.wait_until_saved()

    def close(self) -> None:
        """Close the file."""
        self._store.close()


def _report(message: TurnMessage) -> None:
    if isinstance(message, ErrorOccurred):
        write_stderr(message.sentence)
