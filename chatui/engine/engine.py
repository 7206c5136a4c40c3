"""The engine without its process: one model at a time, loaded, asked and inspected."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

from chatui.engine import generation, inspection
from chatui.engine.loading import load_model
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
)


class Engine:
    """Holds the loaded model."""

    def __init__(self) -> None:
        self._model: LoadedModel | None = None

    def load(self, spec: ModelSpec, report: Callable[[Loading], None]) -> Loaded:
        """Load ``spec`` in place of the model before; if that fails, the model before stays.

        Raises:
            ChatuiError: the model cannot be loaded.
        """
        model = load_model(spec, report)
        self._model = model
        gc.collect()
        return model.summary

    def generate(
        self, request: GenerateRequest, stop_wanted: Callable[[], bool]
    ) -> Iterator[ReplyEvent]:
        """Answer with the loaded model; see :func:`chatui.engine.generation.generate`."""
        return generation.generate(self._loaded(), request, stop_wanted)

    def inspect(self, request: GenerateRequest, top: int) -> Inspection:
        """See :func:`chatui.engine.inspection.inspect`."""
        return inspection.inspect(self._loaded(), request, top)

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise ChatuiError(say("engine.no_model"))
        return self._model
