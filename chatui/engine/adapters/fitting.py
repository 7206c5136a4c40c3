"""Whether adapters fit a base, from headers alone, and what each of them does to it."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from chatui.engine.adapters.files import AdapterFiles, LoraConfig, open_adapter
from chatui.engine.adapters.keys import AdapterContents, sort_entries
from chatui.engine.adapters.lora import (
    LoraPair,
    default_alpha,
    grouped_parts,
    scaling_of,
    stated_alpha,
)
from chatui.engine.adapters.vocabulary import resized_features, table_names
from chatui.engine.quantised import shape_of
from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter


@dataclass(frozen=True)
class BaseNetwork:
    """What adapters are compared with.

    Attributes:
        name: how sentences call it.
        family: e.g. "llama".
        outline: the network without weights (on the meta device).
    """

    name: str
    family: str
    outline: Any


@dataclass(frozen=True)
class AdapterPlan:
    """What one adapter does to the base.

    Attributes:
        files: where its tensors lie.
        pairs: its low-rank pairs.
        replaced: by the base's name: tensors that it brings whole.
        prefix: by name: the weights of a P-Tuning v2 prefix.
        vocabulary: rows of the embeddings that it brings; None if it brings none.
        notes: sentences for the user.
    """

    files: AdapterFiles
    pairs: tuple[LoraPair, ...]
    replaced: dict[str, TensorEntry]
    prefix: dict[str, TensorEntry]
    vocabulary: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class AdaptersPlan:
    """All adapters of a spec, in their order.

    Attributes:
        adapters: one plan each.
        tokenizer: folder of the tokenizer that counts; None for the base's.
        base_rows: tokens that the base has rows for (0 if there is no adapter).
    """

    adapters: tuple[AdapterPlan, ...] = ()
    tokenizer: Path | None = None
    base_rows: int = 0

    @property
    def entries(self) -> tuple[TensorEntry, ...]:
        """All tensors of the files."""
        return tuple(entry for plan in self.adapters for entry in plan.files.entries)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        return tuple(note for plan in self.adapters for note in plan.notes)

    def rows_for(self, tokens: int) -> int | None:
        """How many rows the embeddings are to have; None leaves the base's.

        As many as the last adapter that brings embeddings; where none does, enough for the
        tokenizer that one brings.

        Args:
            tokens: of the tokenizer in use.

        Raises:
            ChatuiError: an adapter's tokenizer has more tokens than its embeddings.
        """
        bring = [plan for plan in self.adapters if plan.vocabulary is not None]
        rows = bring[-1].vocabulary if bring else None
        if rows is not None and tokens > rows:
            title = bring[-1].files.title
            raise ChatuiError(say("adapters.short_tables", adapter=title, tokens=tokens, rows=rows))
        if rows is None:
            rows = max(self.base_rows, tokens) if self.tokenizer else self.base_rows
        return rows if rows != self.base_rows else None


def plan_adapters(adapters: Sequence[Adapter], base: BaseNetwork) -> AdaptersPlan:
    """Check adapters against a base that is not loaded yet.

    The tokenizer is that of the last adapter that brings embeddings for it; where none brings
    embeddings, that of the last one with a tokenizer.

    Args:
        adapters: in the order in which they are put on.

    Raises:
        ChatuiError: an adapter cannot be read, is of a kind that cannot be used, or is for another
            base.
    """
    if not adapters:
        return AdaptersPlan()
    plans: list[AdapterPlan] = []
    for files in [open_adapter(adapter) for adapter in adapters]:
        plans.append(_Fitting(files, base).plan(_brought_rows(plans)))
    if sum(bool(plan.prefix) for plan in plans) > 1:
        raise ChatuiError(say("adapters.two_prefixes"))
    _check_order(plans)
    _check_tables(plans, base)
    folders = [
        (plan.files.tokenizer, plan.vocabulary is not None)
        for plan in plans
        # ChatGLM-6B has one vocabulary; trainers copy its files without their tokenizer's name.
        if plan.files.tokenizer is not None and base.family != "chatglm"
    ]
    with_embeddings = [folder for folder, embeds in folders if embeds]
    tokenizers = with_embeddings or [folder for folder, _ in folders]
    rows = base.outline.get_input_embeddings().num_embeddings
    return AdaptersPlan(tuple(plans), tokenizers[-1] if tokenizers else None, rows)


def _brought_rows(plans: Sequence[AdapterPlan]) -> int | None:
    """Rows of the embeddings with these adapters on; None if none of them brings any."""
    return next((plan.vocabulary for plan in reversed(plans) if plan.vocabulary is not None), None)


def _check_order(plans: Sequence[AdapterPlan]) -> None:
    """Refuse a vocabulary after a larger one, which was trained on top of it."""
    bring = [(plan.files.title, plan.vocabulary) for plan in plans if plan.vocabulary is not None]
    for (first, rows), (second, fewer) in pairwise(bring):
        if fewer < rows:
            names = {"first": first, "second": second, "rows": rows, "fewer": fewer}
            raise ChatuiError(say("adapters.wrong_order", **names))


def _check_tables(plans: Sequence[AdapterPlan], base: BaseNetwork) -> None:
    """Refuse a pair on the embedding or the head where another adapter changes their size."""
    rows = _brought_rows(plans)
    sizes = {} if rows is None else resized_features(base.outline, rows)
    for plan in plans:
        for pair in plan.pairs:
            _Fitting(plan.files, base).check_features(pair, sizes)


@dataclass(frozen=True)
class _Fitting:
    """Compares an adapter's files with a base."""

    files: AdapterFiles
    base: BaseNetwork

    def plan(self, rows: int | None) -> AdapterPlan:
        """What it does to the base, whose embeddings earlier adapters have given ``rows`` rows."""
        files, contents = self.files, sort_entries(self.files.entries)
        if contents.prefix:
            self._check_prefix(contents.prefix)
        elif not contents.pairs and not contents.replaced:
            raise ChatuiError(say("adapters.empty", adapter=files.title))
        elif not contents.pairs and files.config is None:
            raise ChatuiError(say("adapters.no_lora", adapter=files.title))
        replaced, vocabulary = self._replaced(contents)
        sizes = {
            name: size
            for name, module in self.base.outline.named_modules()
            if (size := _features(module)) is not None
        }
        rows = rows if vocabulary is None else vocabulary
        if rows is not None:
            sizes |= resized_features(self.base.outline, rows)
        pairs = tuple(self._pair(name, parts, sizes) for name, parts in contents.pairs.items())
        self._check_complete({pair.module for pair in pairs}, sizes)
        notes = []
        if pairs and stated_alpha(files) is None:
            alpha = f"{default_alpha(self.base.family):g}"
            notes.append(say("adapters.alpha_guessed", adapter=files.title, alpha=alpha))
        if vocabulary is not None and files.adapter.scale != 1:
            notes.append(say("adapters.whole_embeddings", adapter=files.title))
        return AdapterPlan(files, pairs, replaced, contents.prefix, vocabulary, tuple(notes))

    def check_features(self, pair: LoraPair, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Refuse a pair of other sizes than its module's."""
        found = pair.in_features, pair.out_features
        expected = sizes.get(pair.module, found)
        if found != expected:
            raise self._wrong_shape(pair.module, found, expected, " → ")

    def _pair(
        self, name: str, parts: dict[str, TensorEntry], sizes: dict[str, tuple[int, int]]
    ) -> LoraPair:
        """One module's pair, which fits it."""
        files = self.files
        module = self._in_base(name, sizes)
        if "magnitude_vector" in parts:
            raise ChatuiError(say("adapters.unsupported", folder=files.title, feature="DoRA"))
        of_embedding = "embedding_A" in parts or "embedding_B" in parts
        kind = "embedding_" if of_embedding else ""
        down, up = parts.get(f"{kind}A"), parts.get(f"{kind}B")
        if down is None or up is None or len(down.shape) != 2 or len(up.shape) not in (2, 3):
            raise ChatuiError(say("adapters.incomplete", adapter=files.title, module=name))
        grouped = () if of_embedding else grouped_parts(down, up, files.config)
        rank = down.shape[0] // (sum(grouped) or 1)
        wanted = files.adapter.rank
        if wanted is not None and wanted != rank and files.config is None:
            ranks = {"rank": rank, "wanted": wanted}
            raise ChatuiError(say("adapters.wrong_rank", adapter=files.title, **ranks))
        scaling = scaling_of(files, module, rank, self.base.family) * files.adapter.scale
        pair = LoraPair(module, down, up, parts.get("bias"), scaling, grouped, of_embedding)
        self.check_features(pair, sizes)
        if not grouped and up.shape[1:] != down.shape[:1]:
            raise ChatuiError(say("adapters.incomplete", adapter=files.title, module=name))
        return pair

    def _check_complete(self, adapted: Collection[str], modules: Iterable[str]) -> None:
        """Refuse an adapter that reaches some layers only, unless its config says so."""
        config = self.files.config or LoraConfig()
        targets = config.target_modules or ()
        chosen = isinstance(targets, str) or any("." in target for target in targets)
        if chosen or config.layers_to_transform is not None or config.exclude_modules:
            return
        shapes = {_without_numbers(name) for name in adapted}
        for name in modules:
            if name not in adapted and _without_numbers(name) in shapes:
                raise self._wrong_base(say("adapters.layers_missing", module=name))

    def _replaced(self, contents: AdapterContents) -> tuple[dict[str, TensorEntry], int | None]:
        """The tensors brought whole by the base's names, and the rows of the embeddings in them."""
        tables = table_names(self.base.outline)
        known = self.base.outline.state_dict()
        replaced: dict[str, TensorEntry] = {}
        rows: int | None = None
        for given, entry in contents.replaced.items():
            name = self._in_base(given, known)
            expected = tuple(known[name].shape)
            of_tokens = name in tables
            if entry.shape[of_tokens:] != expected[of_tokens:] or not entry.shape:
                raise self._wrong_shape(name, entry.shape, expected)
            if of_tokens and rows not in (None, entry.shape[0]):
                counts = {"rows": rows, "other": entry.shape[0]}
                title = self.files.title
                raise ChatuiError(say("adapters.uneven_tables", adapter=title, **counts))
            if of_tokens:
                rows = entry.shape[0]
            replaced[name] = entry
        return replaced, rows

    def _check_prefix(self, prefix: dict[str, TensorEntry]) -> None:
        """Refuse a P-Tuning v2 prefix for another network."""
        from chatui.engine.architectures.chatglm.prefix import empty_prefix_encoder

        if self.base.family != "chatglm":
            raise self._wrong_base(say("adapters.prefix_family", family=self.base.family))
        embedding = prefix.get("embedding.weight")
        if embedding is None or len(embedding.shape) != 2:
            raise ChatuiError(say("adapters.empty", adapter=self.files.title))
        expected = empty_prefix_encoder(copy(self.base.outline.config), prefix).state_dict()
        for name in sorted(expected.keys() | prefix.keys()):
            found = prefix[name].shape if name in prefix else ()
            wanted = tuple(expected[name].shape) if name in expected else ()
            if found != wanted:
                raise self._wrong_shape(f"prefix_encoder.{name}", found, wanted)

    def _in_base(self, name: str, known: Container[str]) -> str:
        """The base's own name for a module or tensor.

        An adapter trained on the network without its head lacks what stands before its names.
        """
        prefix = f"{self.base.outline.base_model_prefix}."
        for candidate in (name, prefix + name, name.removeprefix(prefix)):
            if candidate in known:
                return candidate
        raise self._wrong_base(say("adapters.no_module", module=name, family=self.base.family))

    def _wrong_shape(
        self, module: str, found: Sequence[int], expected: Sequence[int], between: str = " × "
    ) -> ChatuiError:
        shapes = (between.join(map(str, shape)) for shape in (found, expected))
        sizes = dict(zip(("found", "expected"), shapes, strict=True))
        return self._wrong_base(say("adapters.wrong_shape", module=module, **sizes))

    def _wrong_base(self, reason: str) -> ChatuiError:
        """The sentence that names both sides."""
        made_for = self.files.made_for
        hint = say("adapters.made_for", name=made_for) if made_for else ""
        names = {"adapter": self.files.title, "base": self.base.name}
        return ChatuiError(say("adapters.wrong_base", **names, reason=reason, hint=hint))


def _features(module: Any) -> tuple[int, int] | None:
    """Sizes of a module's input and output; None if it cannot be adapted."""
    if isinstance(module, nn.Embedding):
        return shape_of(module)
    if isinstance(module, nn.Linear | Conv1D):
        outputs, inputs = shape_of(module)
        return inputs, outputs
    return None


def _without_numbers(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "#", name)
