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
        self._on_message = report
        self._backend: Backend | None = None
        self._loaded_spec: ModelSpec | None = None
        self._load_requested = True
        self._wake = asyncio.Event()
        self._loading: asyncio.Task[Loaded] | None = None
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

    def _report(self, message: TurnMessage) -> None:
        self._on_message(message)

    @abstractmethod
    def _withdraw_waiting(self) -> tuple[str, ...]:
        """Withdraw the queries that waited for a model that could not be loaded."""

    async def _load(self) -> None:
        """Load ``self.spec``; after a failure or a cancel the previous model answers again."""
        spec, self._load_requested, self._loading_backend = self.spec, False, None
        self._report(LoadProgress(spec, Loading("")))
        self._loading = asyncio.ensure_future(self._load_now(spec))
        try:
            await asyncio.wait([self._loading])
        finally:
            self._loading.cancel()
        if self._closing is not None:
            await self._closing
            self._closing = None
        if not self._loading.cancelled() and self._loading.exception() is None:
            await self._take_loaded(spec, self._loading.result())
        else:
            await self._return_to_previous(spec, self._loading)

    async def _load_now(self, spec: ModelSpec) -> Loaded:
        """Load a model in the present backend, or in a new one if it needs another kind."""
        before = None if self._backend is None else self._loaded_spec
        if before is not None and before.backend == spec.backend:
            self._loading_backend = self._backend
        else:
            self._loading_backend = self._create_backend(spec.backend)
        assert self._loading_backend is not None
        loaded = None
        async for event in self._loading_backend.load(spec):
            if isinstance(event, Loaded):
                loaded = event
            else:
                self._report(LoadProgress(spec, event))
        if loaded is None:
            raise RuntimeError("the backend ended the load without a model")
        return loaded

    async def _take_loaded(self, spec: ModelSpec, loaded: Loaded) -> None:
        previous, self._backend = self._backend, self._loading_backend
        if previous is not None and previous is not self._backend:
            await previous.close()
        if loaded.name != spec.name:
            # A server was asked for its first model, and reports which one that is.
            named = replace(spec, name=loaded.name)
            self.start_spec = named if self.start_spec is spec else self.start_spec
            self.spec, spec = named if self.spec is spec else self.spec, named
        self.loaded, self._loaded_spec = loaded, spec
        self._report(ModelReady(spec, loaded))

    async def _return_to_previous(self, failed: ModelSpec, loading: asyncio.Task[Loaded]) -> None:
        was_cancelled = loading.cancelled()
        error = None if was_cancelled else loading.exception()
        if was_cancelled:
            error = BackendLost(say("tui.turn.load_stopped"))
        elif not isinstance(error, ChatuiError):
            logger.error("the model could not be loaded", exc_info=error)
            error = BackendLost(say("tui.turn.load_broke_off"))
        if self._loading_backend is not self._backend and self._loading_backend is not None:
            await self._loading_backend.close()
        elif isinstance(error, BackendLost):
            self.loaded = None
            self._backend = None if was_cancelled else self._backend
        waiting, sentence = self._withdraw_waiting(), str(error)
        # If another model was chosen meanwhile, that one is loaded next.
        if not self._load_requested and self._loaded_spec is not None:
            self.spec = self._loaded_spec
            self._load_requested = was_cancelled and self.loaded is None
        elif not self._load_requested and failed.adapters and not was_cancelled:
            self.spec, self._load_requested = replace(failed, adapters=()), True
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
