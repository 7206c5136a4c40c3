"""The engine without its process: it holds one model and exchanges it."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from chatui.engine import generate, scoring
from chatui.engine.memory import NOTHING_FREED, FreedMemory
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
"""Some hundred tokens, as a prompt has them."""


class Loader(Protocol):
    """A module that loads models: ``chatui.engine.loading`` or ``chatui.engine.llama_cpp``."""

    def plan_load(self, spec: ModelSpec, freed: FreedMemory = NOTHING_FREED) -> Any:
        """Check everything that can be checked without reading the weights.

        Args:
            spec: what to load.
            freed: what unloading the present model gives back.
        """
        ...

    def load_model(self, plan: Any, report: Callable[[Loading], None]) -> LoadedModel:
        """Carry out a plan."""
        ...

    def unload(self) -> None:
        """Give back what a model took that nobody refers to any more."""
        ...

    def use_threads(self, parameters: int | None) -> None:
        """Set torch's threads for a model of so many parameters; None restores the default."""
        ...


class Engine:
    """Holds the loaded model.

    Args:
        loader: what loads it; None for ``chatui.engine.loading``.
    """

    def __init__(self, loader: Loader | None = None) -> None:
        if loader is None:
            from chatui.engine import loading

            loader = loading
        self._loader = loader
        self._model: LoadedModel | None = None

    def load(self, spec: ModelSpec, report: Callable[[Loading], None]) -> Loaded:
        """Load ``spec`` in place of the model before; if that fails, the model before stays.

        Everything is checked while the model before is still there. It is unloaded before the new
        weights are read, because both may not fit, and loaded again if those weights fail. If only
        the adapters differ (and what goes with them: format, tokenizer, sampling), its base stays
        and the adapters are exchanged.

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
        before = self._model
        freed = NOTHING_FREED
        if before is not None:
            own_bytes = max(0, before.summary.weight_bytes - before.mapped_bytes)
            own_bytes += before.prompt_cache.held_bytes
            freed = FreedMemory(before.summary.device, own_bytes)
        plan = self._loader.plan_load(spec, freed)
        if before is not None and before.adaptable_base is not None:
            from chatui.engine import loading

            base = before.adaptable_base
            if isinstance(plan, loading.LoadPlan) and base.can_switch_to(plan):
                self._model = loading.switch_adapters(base, plan, report)
                return self._model
            del base
        self._model = None
        previous = before.spec if before else None
        del before
        self._loader.unload()
        try:
            self._model = self._loader.load_model(plan, report)
        except Exception as error:
            # Its frames hold the new weights, and both models may not fit.
            traceback.clear_frames(error.__traceback__)
            self._loader.unload()
            if previous is not None:
                self._model = self._loader.load_model(self._loader.plan_load(previous), report)
            raise
        return self._model

    def warm_up(self, stop_wanted: Callable[[], bool]) -> None:
        """Let a GPU make ready what the first reply needs: libraries, kernels and graphs."""
        if self._model is None or not getattr(self._model.network, "accepts_device_token", False):
            return
        sampling = replace(self._model.spec.sampling, max_new_tokens=2)
        request = GenerateRequest(_WARM_UP, sampling=sampling)
        # The window may be too short for it.
        with suppress(ChatuiError):
            deque(self.generate(request, stop_wanted), maxlen=0)

    def generate(
        self, request: GenerateRequest, stop_wanted: Callable[[], bool]
    ) -> Iterator[ReplyEvent]:
        """Answer with the loaded model; see :func:`chatui.engine.generate.generate`."""
        return generate.generate(self._loaded(), request, stop_wanted)

    def inspect(self, request: GenerateRequest, top: int) -> Inspection:
        """See :func:`chatui.engine.generate.inspect`."""
        return generate.inspect(self._loaded(), request, top)

    def score(self, request: GenerateRequest, stop_wanted: Callable[[], bool]) -> Scored:
        """See :func:`chatui.engine.scoring.score`."""
        return scoring.score(self._loaded(), request, stop_wanted)

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise ChatuiError(say("engine.no_model"))
        return self._model
