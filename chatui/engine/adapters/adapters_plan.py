"""Check the adapters of a spec together, and plan how they are applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from chatui.engine.adapters.files import open_adapter
from chatui.engine.adapters.fitting import AdapterCheck, AdapterPlan, BaseNetwork
from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter


@dataclass(frozen=True)
class AdaptersPlan:
    """The checked adapters of a spec.

    Attributes:
        adapters: a plan for each adapter, in the order in which they are applied.
        tokenizer: folder of the adapters' tokenizer; None for the base's.
        base_rows: rows of the base's embedding (0 without adapters).
        tables: title and rows of the last adapter with embeddings; None if none has any.
    """

    adapters: tuple[AdapterPlan, ...] = ()
    tokenizer: Path | None = None
    base_rows: int = 0
    tables: tuple[str, int] | None = None

    @property
    def entries(self) -> tuple[TensorEntry, ...]:
        """The tensors in all files."""
        return tuple(entry for plan in self.adapters for entry in plan.files.entries)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on all adapters."""
        return tuple(note for plan in self.adapters for note in plan.notes)

    def rows_for(self, tokens: int) -> int | None:
        """Return the number of rows for the embeddings; None keeps the base's.

        It is that of the last adapter with embeddings. If no adapter has any but one has a
        tokenizer, there are enough rows for its tokens.

        Args:
            tokens: number of tokens of the tokenizer in use.

        Raises:
            ChatuiError: an adapter's tokenizer has more tokens than its embeddings.
        """
        if self.tables is None:
            rows = max(self.base_rows, tokens) if self.tokenizer else self.base_rows
        else:
            title, rows = self.tables
            if tokens > rows:
                counts = {"tokens": tokens, "rows": rows}
                raise ChatuiError(say("adapters.short_tables", adapter=title, **counts))
        return rows if rows != self.base_rows else None


def plan_adapters(adapters: Sequence[Adapter], base: BaseNetwork) -> AdaptersPlan:
    """Check adapters against a base that is not loaded yet.

    The tokenizer is that of the last adapter with both embeddings and a tokenizer, or of the last
    adapter with a tokenizer.

    Args:
        adapters: the adapters, in the order in which they are applied.
        base: the base network.

    Raises:
        ChatuiError: an adapter cannot be read, is of an unsupported type, or does not fit the base.
    """
    if not adapters:
        return AdaptersPlan()
    checks = [AdapterCheck(files, base) for files in [open_adapter(one) for one in adapters]]
    vocabularies = [
        (check.files.title, check.vocabulary) for check in checks if check.vocabulary is not None
    ]
    for (first, rows), (second, fewer) in pairwise(vocabularies):
        # A larger vocabulary was trained on top of the smaller one.
        if fewer < rows:
            names = {"first": first, "second": second, "rows": rows, "fewer": fewer}
            raise ChatuiError(say("adapters.wrong_order", **names))
    tables = vocabularies[-1] if vocabularies else None
    plans = tuple(check.plan(tables[1] if tables else None) for check in checks)
    if sum(bool(plan.prefix) for plan in plans) > 1:
        raise ChatuiError(say("adapters.two_prefixes"))
    # ChatGLM-6B has one vocabulary, and trainers copy its tokenizer files incompletely.
    owners = [one for one in checks if one.files.tokenizer and base.family != "chatglm"]
    owners = [one for one in owners if one.vocabulary is not None] or owners
    rows = base.outline.get_input_embeddings().num_embeddings
    return AdaptersPlan(plans, owners[-1].files.tokenizer if owners else None, rows, tables)
