"""Loading of the model that answers, with a return to the previous one after a failure."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

from chatui.backends.protocol import Backend
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import Loaded, Loading, ModelSpec
from chatui.tui.turn_messages import LoadFailed, LoadProgress, ModelReady, TurnMessage

logger = logging.getLogger(__name__)


class ModelLoader(ABC):
    """The model that answers; :class:`chatui.tui.turn.Turns` decides when to load it.

    Attributes:
        spec: the model that answers the next query.
        start_spec: the model of the start, with the command line's options.
        loaded: the backend's description of the loaded model; None if none is loaded.
        think: whether the next reply begins with thoughts; None is the model's default.
    """

    def __init__(
        self,
        spec: ModelSpec,
        create_backend: Callable[[str], Backend],
        report: Callable[[TurnMessage], None],
    ) -> None:
        """
        Args:
            create_backend: returns a new backend for the name in a spec.
            report: called with each event.
        """
        self.spec = self.start_spec = spec
        self.think = spec.think
        self.loaded: Loaded | None = None
        self._create_backend = create_backend
        self._report = report
        self._backend: Backend | None = None
        self._backend_name = ""
        self._loaded_spec: ModelSpec | None = None
        self._load_requested = True
        self._wake = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None
        self._loading_backend: Backend | None = None
        self._closing: asyncio.Future[None] | None = None

    def switch(self, spec: ModelSpec) -> None:
        """Answer the next query with another model."""
        self.spec = spec
        self.think = spec.think if self.think is None else self.think
        self._load_requested = True
        self._wake.set()

    def cancel_load(self) -> bool:
        """Stop loading, and return to the previous model; False if no model was being loaded."""
        if self._loading is None or self._loading.done():
            return False
        if self._closing is None and self._loading_backend is not None:
            # A load can only be interrupted by ending the process.
            self._closing = asyncio.ensure_future(self._loading_backend.close())
            self._loading.cancel()
        return True

    @abstractmethod
    def _withdraw_waiting(self) -> tuple[str, ...]:
        """Withdraw the queries that waited for a model that could not be loaded."""

    async def _load(self) -> None:
        """Load ``self.spec``; after a failure or a cancel the previous model answers again."""
        spec = self.spec
        self._load_requested = False
        self._loading = asyncio.ensure_future(self._load_now(spec))
        try:
            await asyncio.wait([self._loading])
        finally:
            self._loading.cancel()
        if self._closing is not None:
            await self._closing
            self._closing = None
            if self._loading.cancelled():
                self._after_cancelled_load(spec)
                return
        self._loading.result()

    def _after_cancelled_load(self, spec: ModelSpec) -> None:
        if self._loading_backend is self._backend:
            self._backend, self._backend_name, self.loaded = None, "", None
        if self._loaded_spec is not None and not self._load_requested:
            self.spec = self._loaded_spec
            self._load_requested = self.loaded is None
        self._report(LoadFailed(spec, say("tui.turn.load_stopped"), self._withdraw_waiting()))

    async def _load_now(self, spec: ModelSpec) -> None:
        previous = self._backend
        self._report(LoadProgress(spec, Loading("")))
        new: Backend | None = None
        try:
            if previous is None or self._backend_name != spec.backend:
                new = self._create_backend(spec.backend)
            self._loading_backend = new or previous
            loaded = None
            async for event in self._loading_backend.load(spec):  # type: ignore[union-attr]
                if isinstance(event, Loaded):
                    loaded = event
                else:
                    self._report(LoadProgress(spec, event))
        except ChatuiError as error:
            await self._after_failed_load(spec, new, error)
            return
        except Exception:
            logger.exception("the model could not be loaded")
            await self._after_failed_load(spec, new, BackendLost(say("tui.turn.load_broke_off")))
            return
        if new is not None:
            self._backend, self._backend_name = new, spec.backend
            if previous is not None:
                await previous.close()
        if loaded is not None and loaded.name != spec.name:
            # A server was asked for its first model, and reports which one that is.
            named = replace(spec, name=loaded.name)
            self.start_spec = named if self.start_spec is spec else self.start_spec
            self.spec, spec = named if self.spec is spec else self.spec, named
        self.loaded, self._loaded_spec = loaded, spec
        if loaded is not None:
            self._report(ModelReady(spec, loaded))

    async def _after_failed_load(
        self, failed: ModelSpec, new: Backend | None, error: ChatuiError
    ) -> None:
        if new is not None:
            await new.close()
        elif isinstance(error, BackendLost):
            self.loaded = None
        if self._loaded_spec is not None and not self._load_requested:
            self.spec = self._loaded_spec
        waiting = self._withdraw_waiting()
        sentence = str(error)
        if self._loaded_spec is None and failed.adapters and not self._load_requested:
            self.spec = replace(failed, adapters=())
            self._load_requested = True
            sentence = f"{sentence} {say('tui.turn.base_alone')}"
        self._report(LoadFailed(failed, sentence, waiting))

    async def _reload(self) -> bool:
        """Load the model that answered last, after its backend was lost; True on success.

        A model chosen meanwhile is loaded later.
        """
        assert self._loaded_spec is not None
        chosen, self.spec = self.spec, self._loaded_spec
        was_requested, self.loaded = self._load_requested, None
        await self._load()
        if was_requested and not self._load_requested:
            self.switch(chosen)
        return self.loaded is not None
