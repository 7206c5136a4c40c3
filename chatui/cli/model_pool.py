"""Models that one command uses in turn: each is loaded once, while they fit beside each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from chatui.backends import registry
from chatui.backends.protocol import Backend
from chatui.cli import session
from chatui.errors import ChatuiError
from chatui.messages import Loaded, ModelSpec


@dataclass
class _Open:
    """A base in a process of its own, and with which adapters it is loaded."""

    backend: Backend
    spec: ModelSpec
    loaded: Loaded


@dataclass
class ModelPool:
    """The models that are loaded.

    Adapters of one base are switched on it. A model that would be another one beside the others
    (smaller weights, a shorter window) has the memory for itself, and they are loaded again when
    they are wanted.
    """

    interrupt: session.InterruptHandler
    _open: dict[ModelSpec, _Open] = field(default_factory=dict)

    async def use(self, spec: ModelSpec) -> tuple[Backend, Loaded]:
        """The backend with the model of ``spec`` in it.

        Raises:
            ChatuiError: the model cannot be loaded.
        """
        base = replace(spec, adapters=())
        there = self._open.get(base)
        if there is not None:
            self.interrupt.backend = there.backend
            if there.spec != spec:
                there.loaded, there.spec = await session.load(there.backend, spec), spec
                session.write_notes(there.loaded)
            return there.backend, there.loaded
        if self._open and not await self._fits(base, spec):
            await self.close()
        if base not in self._open:
            session.write_notes(await self._load(base, spec, spec))
        return self._open[base].backend, self._open[base].loaded

    async def close(self) -> None:
        """Unload all of them."""
        while self._open:
            await self._open.popitem()[1].backend.close()

    async def _fits(self, base: ModelSpec, spec: ModelSpec) -> bool:
        """Load a model beside the others; whether it is what it would be alone."""
        plain = replace(spec, weights="plain") if spec.weights == "auto" else spec
        try:
            loaded = await self._load(base, spec, plain)
        except ChatuiError:
            return False
        # What was left out to make it fit is told, but for a number format that the file has too.
        narrowed = loaded.device == "cpu" and loaded.dtype == "bfloat16" and spec.dtype == "auto"
        return not loaded.notes and not narrowed

    async def _load(self, base: ModelSpec, spec: ModelSpec, wanted: ModelSpec) -> Loaded:
        backend = registry.create(spec.backend)
        self.interrupt.backend = backend
        try:
            loaded = await session.load(backend, wanted)
        except BaseException:
            await backend.close()
            raise
        self._open[base] = _Open(backend, spec, loaded)
        return loaded


@asynccontextmanager
async def model_pool(interrupt: session.InterruptHandler) -> AsyncIterator[ModelPool]:
    """Models for one command; unloaded at the end."""
    held = ModelPool(interrupt)
    try:
        yield held
    finally:
        await held.close()
