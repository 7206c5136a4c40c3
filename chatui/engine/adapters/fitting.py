"""Whether adapters fit a base, from headers alone, and what each of them does to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from chatui.engine.adapters.files import AdapterFiles, LoraConfig, open_adapter
from chatui.engine.adapters.keys import Contents, in_base, sort_entries
from chatui.engine.adapters.lora import (
    Pair,
    default_alpha,
    known_alpha,
    parts_of,
    scaling_of,
)
from chatui.engine.adapters.vocabulary import resized, table_names
from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter


@dataclass(frozen=True)
class Base:
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
    pairs: tuple[Pair, ...]
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


def plan_adapters(
    adapters: Sequence[Adapter], name: str, family: str, outline: Callable[[], Any]
) -> AdaptersPlan:
    """Check adapters against a base that is not loaded yet.

    The tokenizer is that of the last adapter that brings embeddings for it; where none brings
    embeddings, that of the last one with a tokenizer.

    Args:
        adapters: in the order in which they are put on.
        name: the base's, for sentences.
        family: the base's.
        outline: makes the base's network on the meta device; called if there is an adapter.

    Raises:
        ChatuiError: an adapter cannot be read, is of a kind that cannot be used, or is for another
            base.
    """
    if not adapters:
        return AdaptersPlan()
    opened = [open_adapter(adapter) for adapter in adapters]
    base = Base(name, family, outline())
    plans: tuple[AdapterPlan, ...] = ()
    for files in opened:
        plans = (*plans, _fit(files, base, _brought_rows(plans)))
    if sum(bool(plan.prefix) for plan in plans) > 1:
        raise ChatuiError(say("adapters.two_prefixes"))
    _check_order(plans)
    _check_tables(plans, base)
    folders = [
        (plan.files.tokenizer, plan.vocabulary is not None)
        for plan in plans
        # ChatGLM-6B has one vocabulary; trainers copy its files without their tokenizer's name.
        if plan.files.tokenizer is not None and family != "chatglm"
    ]
    with_embeddings = [folder for folder, embeds in folders if embeds]
    tokenizers = with_embeddings or [folder for folder, _ in folders]
    rows = base.outline.get_input_embeddings().num_embeddings
    return AdaptersPlan(plans, tokenizers[-1] if tokenizers else None, rows)


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


def _check_tables(plans: Sequence[AdapterPlan], base: Base) -> None:
    """Refuse a pair on the embedding or the head where another adapter changes their size."""
    rows = _brought_rows(plans)
    sizes = {} if rows is None else resized(base.outline, rows)
    for plan in plans:
        for pair in plan.pairs:
            found = pair.in_features, pair.out_features
            if found != sizes.get(pair.module, found):
                shapes = {"found": _arrow(found), "expected": _arrow(sizes[pair.module])}
                reason = say("adapters.wrong_shape", module=pair.module, **shapes)
                raise _wrong_base(plan.files, base, reason)


def _fit(files: AdapterFiles, base: Base, rows: int | None) -> AdapterPlan:
    """What an adapter does to the base, whose embeddings earlier ones have given ``rows`` rows."""
    contents = sort_entries(files.entries)
    if contents.prefix:
        _check_prefix(files, contents, base)
    elif not contents.pairs and not contents.replaced:
        raise ChatuiError(say("adapters.empty", adapter=files.title))
    elif not contents.pairs and files.config is None:
        raise ChatuiError(say("adapters.no_lora", adapter=files.title))
    replaced, vocabulary = _replaced(files, contents, base)
    sizes = {
        name: size
        for name, module in base.outline.named_modules()
        if (size := _features(module)) is not None
    }
    rows = rows if vocabulary is None else vocabulary
    if rows is not None:
        sizes |= resized(base.outline, rows)
    pairs = tuple(_pair(files, name, parts, sizes, base) for name, parts in contents.pairs.items())
    _check_complete(files, pairs, sizes, base)
    notes = []
    if pairs and known_alpha(files) is None:
        alpha = f"{default_alpha(base.family):g}"
        notes.append(say("adapters.alpha_guessed", adapter=files.title, alpha=alpha))
    if vocabulary is not None and files.adapter.scale != 1:
        notes.append(say("adapters.whole_embeddings", adapter=files.title))
    return AdapterPlan(files, pairs, replaced, contents.prefix, vocabulary, tuple(notes))


def _pair(
    files: AdapterFiles,
    name: str,
    parts: dict[str, TensorEntry],
    sizes: dict[str, tuple[int, int]],
    base: Base,
) -> Pair:
    """One module's pair, which fits it."""
    module = in_base(name, sizes, base.outline.base_model_prefix)
    if module is None:
        raise _wrong_base(files, base, say("adapters.no_module", module=name, family=base.family))
    if "magnitude_vector" in parts:
        raise ChatuiError(say("adapters.unsupported", folder=files.title, feature="DoRA"))
    of_embedding = "embedding_A" in parts or "embedding_B" in parts
    kind = "embedding_" if of_embedding else ""
    down, up = parts.get(f"{kind}A"), parts.get(f"{kind}B")
    if down is None or up is None or len(down.shape) != 2 or len(up.shape) not in (2, 3):
        raise ChatuiError(say("adapters.incomplete", adapter=files.title, module=name))
    grouped = () if of_embedding else parts_of(down, up, files.config)
    rank = down.shape[0] // (sum(grouped) or 1)
    wanted = files.adapter.rank
    if wanted is not None and wanted != rank and files.config is None:
        raise ChatuiError(say("adapters.wrong_rank", adapter=files.title, rank=rank, wanted=wanted))
    scaling = scaling_of(files, module, rank, base.family) * files.adapter.scale
    pair = Pair(module, down, up, parts.get("bias"), scaling, grouped, of_embedding)
    found = pair.in_features, pair.out_features
    if found != sizes[module] or not (grouped or up.shape[1:] == down.shape[:1]):
        shapes = {"found": _arrow(found), "expected": _arrow(sizes[module])}
        raise _wrong_base(files, base, say("adapters.wrong_shape", module=module, **shapes))
    return pair


def _features(module: Any) -> tuple[int, int] | None:
    """Sizes of a module's input and output; None if it cannot be adapted."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    return None


def _check_complete(
    files: AdapterFiles, pairs: Sequence[Pair], modules: Iterable[str], base: Base
) -> None:
    """Refuse an adapter that reaches some layers of the base only, unless its config says so."""
    config = files.config or LoraConfig()
    targets = config.target_modules or ()
    chosen = isinstance(targets, str) or any("." in target for target in targets)
    if chosen or config.layers_to_transform is not None or config.exclude_modules:
        return
    adapted = {pair.module for pair in pairs}
    shapes = {_without_numbers(name) for name in adapted}
    for name in modules:
        if name not in adapted and _without_numbers(name) in shapes:
            raise _wrong_base(files, base, say("adapters.layers_missing", module=name))


def _without_numbers(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "#", name)


def _replaced(
    files: AdapterFiles, contents: Contents, base: Base
) -> tuple[dict[str, TensorEntry], int | None]:
    """The tensors brought whole under the base's names, and the rows of the embeddings in them."""
    tables = table_names(base.outline)
    known = base.outline.state_dict()
    replaced: dict[str, TensorEntry] = {}
    rows: int | None = None
    for given, entry in contents.replaced.items():
        name = in_base(given, known, base.outline.base_model_prefix)
        if name is None:
            reason = say("adapters.no_module", module=given, family=base.family)
            raise _wrong_base(files, base, reason)
        expected = tuple(known[name].shape)
        of_tokens = name in tables
        if entry.shape[of_tokens:] != expected[of_tokens:] or not entry.shape:
            reason = say(
                "adapters.wrong_shape",
                module=name,
                found=_shape(entry.shape),
                expected=_shape(expected),
            )
            raise _wrong_base(files, base, reason)
        if of_tokens and rows not in (None, entry.shape[0]):
            counts = {"rows": rows, "other": entry.shape[0]}
            raise ChatuiError(say("adapters.uneven_tables", adapter=files.title, **counts))
        if of_tokens:
            rows = entry.shape[0]
        replaced[name] = entry
    return replaced, rows


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _arrow(features: tuple[int, int]) -> str:
    return f"{features[0]} → {features[1]}"


def _check_prefix(files: AdapterFiles, contents: Contents, base: Base) -> None:
    """Refuse a P-Tuning v2 prefix for another network."""
    if base.family != "chatglm":
        raise _wrong_base(files, base, say("adapters.prefix_family", family=base.family))
    config = base.outline.config
    wide = 2 * config.num_layers * config.hidden_size
    embedding = contents.prefix.get("embedding.weight")
    projected = contents.prefix.get("trans.0.weight")
    expected = config.hidden_size if projected is not None else wide
    last = contents.prefix.get("trans.2.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise ChatuiError(say("adapters.empty", adapter=files.title))
    if embedding.shape[1] != expected or (last is not None and last.shape[0] != wide):
        reason = say(
            "adapters.wrong_shape",
            module="prefix_encoder",
            found=_shape(embedding.shape),
            expected=_shape((embedding.shape[0], expected)),
        )
        raise _wrong_base(files, base, reason)


def _wrong_base(files: AdapterFiles, base: Base, reason: str) -> ChatuiError:
    """The sentence that names both sides."""
    hint = say("adapters.made_for", name=files.made_for) if files.made_for else ""
    return ChatuiError(
        say("adapters.wrong_base", adapter=files.title, base=base.name, reason=reason, hint=hint)
    )
