"""The engine without its process: one model at a time, loaded, asked and inspected."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chatui.engine import generate, loading
from chatui.engine.model import LoadedModel
from chatui.engine.threads import use_threads
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

        Everything is checked while the model before is still there. It is unloaded before the
        new weights are read, for both may not fit, and loaded again if those weights fail. Where
        only the adapters differ (and what goes with them: format, tokenizer, sampling) its base
        stays, and the adapters are exchanged.

        Raises:
            ChatuiError: the model cannot be loaded.
        """
        report(Loading(say("engine.stage_files")))
        use_threads(None)
        try:
            return self._exchange(spec, report).summary
        finally:
            if self._model is not None and self._model.summary.device == "cpu":
                use_threads(self._model.summary.parameters)

    def _exchange(self, spec: ModelSpec, report: Callable[[Loading], None]) -> LoadedModel:
        before = self._model
        plan = loading.plan_load(spec, before.summary.weight_bytes if before else 0)
        base = before.foundation if before else None
        if isinstance(plan, loading.Plan) and base and base.serves(spec, plan.stamp):
            self._model = loading.switch_adapters(base, plan, report)
            return self._model
        del base
        self._model = None
        previous = before.spec if before else None
        del before
        loading.unload()
        try:
            self._model = loading.load_model(plan, report)
        except Exception:
            if previous is not None:
                self._model = loading.load_model(loading.plan_load(previous), report)
            raise
        return self._model

    def generate(
        self, request: GenerateRequest, stop_wanted: Callable[[], bool]
    ) -> Iterator[ReplyEvent]:
        """Answer with the loaded model; see :func:`chatui.engine.generate.generate`."""
        return generate.generate(self._loaded(), request, stop_wanted)

    def inspect(self, request: GenerateRequest, top: int) -> Inspection:
        """See :func:`chatui.engine.generate.inspect`."""
        return generate.inspect(self._loaded(), request, top)

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise ChatuiError(say("engine.no_model"))
        return self._model
