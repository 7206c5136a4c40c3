"""Check an adapter against a base by its headers, and plan how it is applied."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from chatui.engine.adapters.files import AdapterContents, AdapterFiles, LoraConfig, sort_entries
from chatui.engine.adapters.lora import (
    LoraPair,
    default_alpha,
    grouped_parts,
    scaling_of,
    stated_alpha,
)
from chatui.engine.quantised import shape_of
from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.locales import say


@dataclass(frozen=True)
class BaseNetwork:
    """The network that adapters are checked against.

    Attributes:
        name: the base's name for messages.
        family: the base's family, e.g. "llama".
        outline: the network on the meta device, without weights.
    """

    name: str
    family: str
    outline: Any


@dataclass(frozen=True)
class AdapterPlan:
    """The changes that one adapter makes to the base.

    Attributes:
        files: the adapter's files.
        pairs: its LoRA pairs.
        replaced: tensors that replace the base's, by the base's names.
        prefix: weights of a P-Tuning v2 prefix, by name.
        notes: notes for the user.
    """

    files: AdapterFiles
    pairs: tuple[LoraPair, ...]
    replaced: dict[str, TensorEntry]
    prefix: dict[str, TensorEntry]
    notes: tuple[str, ...]


class AdapterCheck:
    """The check of an adapter's files against a base.

    Attributes:
        vocabulary: rows of the adapter's embeddings; None if it has none.

    Raises:
        ChatuiError: the adapter is incomplete, of an unsupported type, or does not fit.
    """

    def __init__(self, files: AdapterFiles, base: BaseNetwork) -> None:
        self.files = files
        self.base = base
        contents = sort_entries(files.entries)
        if contents.prefix:
            self._check_prefix(contents.prefix)
        elif not contents.pairs and not contents.replaced:
            raise ChatuiError(say("adapters.empty", adapter=files.title))
        elif not contents.pairs and files.config is None:
            raise ChatuiError(say("adapters.no_lora", adapter=files.title))
        self._contents = contents
        self._replaced, self.vocabulary = self._replacements(contents)

    def plan(self, rows: int | None) -> AdapterPlan:
        """Check the LoRA pairs and return the adapter's plan.

        Args:
            rows: rows of the embeddings with all adapters; None if none has any.

        Raises:
            ChatuiError: see :class:`AdapterCheck`.
        """
        files, sizes = self.files, _module_sizes(self.base.outline, rows)
        pairs = tuple(
            self._pair(name, parts, sizes) for name, parts in self._contents.pairs.items()
        )
        self._check_complete({pair.module for pair in pairs}, sizes)
        notes = []
        if pairs and stated_alpha(files) is None:
            alpha = f"{default_alpha(self.base.family):g}"
            notes.append(say("adapters.alpha_guessed", adapter=files.title, alpha=alpha))
        if self.vocabulary is not None and files.adapter.scale != 1:
            notes.append(say("adapters.whole_embeddings", adapter=files.title))
        return AdapterPlan(files, pairs, self._replaced, self._contents.prefix, tuple(notes))

    def _pair(
        self, name: str, parts: dict[str, TensorEntry], sizes: dict[str, tuple[int, int]]
    ) -> LoraPair:
        """Return the checked pair of one module."""
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
        given_rank = files.adapter.rank
        if given_rank is not None and given_rank != rank and files.config is None:
            ranks = {"rank": rank, "wanted": given_rank}
            raise ChatuiError(say("adapters.wrong_rank", adapter=files.title, **ranks))
        scaling = scaling_of(files, module, rank, self.base.family) * files.adapter.scale
        pair = LoraPair(module, down, up, parts.get("bias"), scaling, grouped, of_embedding)
        found = pair.in_features, pair.out_features
        if found != sizes[module]:
            raise self._wrong_shape(module, found, sizes[module], " → ")
        if not grouped and up.shape[1:] != down.shape[:1]:
            raise ChatuiError(say("adapters.incomplete", adapter=files.title, module=name))
        return pair

    def _check_complete(self, adapted: Collection[str], modules: Iterable[str]) -> None:
        """Refuse an adapter that adapts only some of the layers, unless its config says so."""
        config = self.files.config or LoraConfig()
        targets = config.target_modules or ()
        selective = isinstance(targets, str) or any("." in target for target in targets)
        if selective or config.layers_to_transform is not None or config.exclude_modules:
            return
        patterns = {_without_numbers(name) for name in adapted}
        for name in modules:
            if name not in adapted and _without_numbers(name) in patterns:
                raise self._wrong_base(say("adapters.layers_missing", module=name))

    def _replacements(self, contents: AdapterContents) -> tuple[dict[str, TensorEntry], int | None]:
        """Return the replacing tensors by the base's names, and the rows of their embeddings."""
        tables = table_names(self.base.outline)
        known = self.base.outline.state_dict()
        replaced: dict[str, TensorEntry] = {}
        rows: int | None = None
        for given, entry in contents.replaced.items():
            name = self._in_base(given, known)
            expected = tuple(known[name].shape)
            is_table = name in tables
            # The number of rows of a table may change.
            if entry.shape[is_table:] != expected[is_table:] or not entry.shape:
                raise self._wrong_shape(name, entry.shape, expected)
            if is_table and rows not in (None, entry.shape[0]):
                counts = {"rows": rows, "other": entry.shape[0]}
                title = self.files.title
                raise ChatuiError(say("adapters.uneven_tables", adapter=title, **counts))
            if is_table:
                rows = entry.shape[0]
            replaced[name] = entry
        return replaced, rows

    def _check_prefix(self, prefix: dict[str, TensorEntry]) -> None:
        """Refuse a P-Tuning v2 prefix that was trained for another network."""
        from chatui.engine.architectures.chatglm.modeling import empty_prefix_encoder

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
        """Return the base's name for a module or tensor.

        An adapter trained on the network without its head uses names without the base's prefix.
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
        """Return an error that names the adapter and the base."""
        made_for = self.files.config and self.files.config.base_model_name_or_path
        hint = say("adapters.made_for", name=made_for) if made_for else ""
        names = {"adapter": self.files.title, "base": self.base.name}
        return ChatuiError(say("adapters.wrong_base", **names, reason=reason, hint=hint))


def _module_sizes(outline: Any, rows: int | None) -> dict[str, tuple[int, int]]:
    """Return the sizes of input and output of each module that can be adapted, by name.

    Args:
        rows: tokens of the embedding and the head; None for the base's.
    """
    tables = (outline.get_input_embeddings(), outline.get_output_embeddings())
    sizes = {}
    for name, module in outline.named_modules():
        if isinstance(module, nn.Embedding | nn.Linear | Conv1D):
            first, second = shape_of(module)
            first = rows if rows is not None and module in tables else first
            sizes[name] = (first, second) if isinstance(module, nn.Embedding) else (second, first)
    return sizes


def table_names(model: Any) -> dict[str, Tensor]:
    """Return the embedding, the head and its bias by name; tied ones under each of their names."""
    head = model.get_output_embeddings()
    tables = [model.get_input_embeddings().weight]
    if head is not None:
        tables += [head.weight, getattr(head, "bias", None)]
    table_ids = {id(table) for table in tables if table is not None}
    named = model.named_parameters(remove_duplicate=False)
    return {name: parameter for name, parameter in named if id(parameter) in table_ids}


def _without_numbers(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "#", name)
