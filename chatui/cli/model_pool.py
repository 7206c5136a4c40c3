"""The models of a command that uses several; as many as fit stay loaded."""

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
class _LoadedBase:
    """A base model in its own process, and the spec with the adapters that are loaded on it."""

    backend: Backend
    spec: ModelSpec
    loaded: Loaded


@dataclass
class ModelPool:
    """Loads models on demand and keeps those that fit beside each other.

    Models that differ in their adapters share one base. If a model would get quantised weights or
    a shorter window beside the others, the others are unloaded first.
    """

    interrupt: session.InterruptHandler
    _open: dict[ModelSpec, _LoadedBase] = field(default_factory=dict)

    async def use(self, spec: ModelSpec) -> tuple[Backend, Loaded]:
        """Return a backend that holds the model of ``spec``, and load it if necessary.

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
        """Unload all models."""
        while self._open:
            await self._open.popitem()[1].backend.close()

    async def _fits(self, base: ModelSpec, spec: ModelSpec) -> bool:
        """Load a model beside the others; True if it is the same as it would be alone."""
        plain = replace(spec, weights="plain") if spec.weights == "auto" else spec
        try:
            loaded = await self._load(base, spec, plain)
        except ChatuiError:
            return False
        # A reduction to fit has a note, except for loading a 16-bit file in 16 bits.
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
        self._open[base] = _LoadedBase(backend, spec, loaded)
        return loaded


@asynccontextmanager
async def model_pool(interrupt: session.InterruptHandler) -> AsyncIterator[ModelPool]:
    """Create a pool for one command; its models are unloaded at the end."""
    held = ModelPool(interrupt)
    try:
        yield held
    finally:
        await held.close()
