"""The engine: holds one loaded model and replaces it."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from chatui.engine import generate
from chatui.engine.memory import NOTHING_FREED, FreedMemory, free_unused
from chatui.engine.model import LoadedModel
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import (
    GenerateRequest,
    Inspection,
    Loaded,
    Loading,
    ModelSpec,
    ReplyEvent,
    Scored,
)

_WARM_UP = "春眠不觉晓，" * 100
"""Some hundred tokens, as in a typical prompt."""


class Loader(Protocol):
    """A module that loads models: ``chatui.engine.loading`` or ``chatui.engine.llama_cpp``."""

    def plan_load(self, spec: ModelSpec, freed: FreedMemory = NOTHING_FREED) -> Any:
        """Validate a spec without reading the weights.

        Args:
            spec: the model to load.
            freed: memory that unloading the current model frees.
        """
        ...

    def load_model(self, plan: Any, report: Callable[[Loading], None]) -> LoadedModel:
        """Load the model of a plan."""
        ...

    def use_threads(self, parameters: int | None) -> None:
        """Set torch's threads for a model of this size; None restores the default."""
        ...


class Engine:
    """The loaded model and the requests to it.

    Args:
        loader: the module that loads models; None for ``chatui.engine.loading``.
    """

    def __init__(self, loader: Loader | None = None) -> None:
        if loader is None:
            from chatui.engine import loading

            loader = loading
        self._loader = loader
        self._model: LoadedModel | None = None

    def load(self, spec: ModelSpec, report: Callable[[Loading], None]) -> Loaded:
        """Load ``spec`` in place of the previous model; if that fails, the previous model stays.

        The spec is validated first. The previous model is unloaded before the new weights are read,
        because both may not fit into memory, and is loaded again if reading them fails. If the
        specs differ only in adapters, format, tokenizer or sampling, the base model stays and the
        adapters are exchanged.

        Raises:
            ChatuiError: the model cannot be loaded.
        """
        report(Loading(say("engine.stage_files")))
        self._loader.use_threads(None)
        try:
            return self._replace_model(spec, report).summary
        finally:
            if self._model is not None and self._model.summary.device == "cpu":
                self._loader.use_threads(self._model.summary.parameters)

    def _replace_model(self, spec: ModelSpec, report: Callable[[Loading], None]) -> LoadedModel:
        previous = self._model
        freed = NOTHING_FREED
        if previous is not None:
            own_bytes = max(0, previous.summary.weight_bytes - previous.mapped_bytes)
            own_bytes += previous.prompt_cache.held_bytes
            freed = FreedMemory(previous.summary.device, own_bytes)
        plan = self._loader.plan_load(spec, freed)
        if previous is not None and previous.adaptable_base is not None:
            from chatui.engine import loading

            base = previous.adaptable_base
            if isinstance(plan, loading.LoadPlan) and base.can_switch_to(plan):
                self._model = loading.switch_adapters(base, plan, report)
                return self._model
            del base
        self._model = None
        previous_spec = previous.spec if previous else None
        # The last reference, so that unloading frees its memory.
        del previous
        free_unused()
        try:
            self._model = self._loader.load_model(plan, report)
        except Exception as error:
            # The traceback's frames hold the new weights, and both models may not fit.
            traceback.clear_frames(error.__traceback__)
            free_unused()
            if previous_spec is not None:
                self._model = self._loader.load_model(self._loader.plan_load(previous_spec), report)
            raise
        return self._model

    def warm_up(self, stop_wanted: Callable[[], bool]) -> None:
        """Generate two tokens on a GPU to load its libraries and kernels and capture its graphs."""
        if self._model is None or not getattr(self._model.network, "accepts_device_token", False):
            return
        sampling = replace(self._model.spec.sampling, max_new_tokens=2)
        request = GenerateRequest(_WARM_UP, sampling=sampling)
        # The prompt may be longer than the context window.
        with suppress(ChatuiError):
            deque(self.generate(request, stop_wanted), maxlen=0)

    def generate(
        self, request: GenerateRequest, stop_wanted: Callable[[], bool]
    ) -> Iterator[ReplyEvent]:
        """Generate a reply; see :func:`chatui.engine.generate.generate`."""
        return generate.generate(self._loaded(), request, stop_wanted)

    def inspect(self, request: GenerateRequest, top: int) -> Inspection:
        """Inspect a prompt; see :func:`chatui.engine.generate.inspect`."""
        return generate.inspect(self._loaded(), request, top)

    def score(self, request: GenerateRequest, stop_wanted: Callable[[], bool]) -> Scored:
        """Score a reply; see :func:`chatui.engine.generate.score`."""
        return generate.score(self._loaded(), request, stop_wanted)

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise ChatuiError(say("engine.no_model"))
        return self._model
