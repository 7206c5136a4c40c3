"""Read adapters, apply them to a loaded network and remove them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from chatui.engine.adapters.adapters_plan import AdaptersPlan
from chatui.engine.adapters.fitting import table_names
from chatui.engine.adapters.lora import LoraPair, expand_grouped
from chatui.engine.quantised import dequantised_weight
from chatui.engine.weights import TensorEntry, TensorReader
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loading


@dataclass
class LoraHook:
    """A forward hook that adds the LoRA pairs of all adapters to a module's output.

    The pairs are concatenated to a single one: ``up (down x)``.

    Attributes:
        down: ``[Σ rank, in]``.
        up: ``[out, Σ rank]``, scaled.
        bias: ``[out]``, scaled; None for none.
        of_embedding: whether the input is token ids, each with a column of ``down``.
    """

    down: Tensor
    up: Tensor
    bias: Tensor | None = None
    of_embedding: bool = False

    @cached_property
    def _table(self) -> Tensor:
        return self.down.T.contiguous()

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        states = inputs[0]
        if states.device != self.down.device:
            states = states.to(self.down.device)
        if self.of_embedding:
            states = functional.embedding(states, self._table)
        else:
            states = functional.linear(states, self.down)
        output = output + functional.linear(states, self.up)
        return output if self.bias is None else output + self.bias


@dataclass
class AppliedAdapters:
    """Adapters in memory, which can be applied to the base and removed again.

    Attributes:
        lora_hooks: LoRA hooks, by module.
        replaced: tensors that replace the base's, by name.
        vocabulary: rows for the embeddings; None keeps the base's.
        prefix: weights of a P-Tuning v2 prefix.
        merged: whether LoRA pairs were merged into the base's weights, which cannot be undone.
        dtype: dtype of the base's floating point weights.
    """

    lora_hooks: dict[str, LoraHook] = field(default_factory=dict)
    replaced: dict[str, Tensor] = field(default_factory=dict)
    vocabulary: int | None = None
    prefix: dict[str, Tensor] = field(default_factory=dict)
    merged: bool = False
    dtype: torch.dtype = torch.float32
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _kept_bytes: int = 0

    @property
    def parameters(self) -> int:
        """Count of the numbers in the LoRA pairs, which are not parameters of the network."""
        return sum(pair.down.numel() + pair.up.numel() for pair in self.lora_hooks.values())

    @property
    def bytes(self) -> int:
        """Memory of the LoRA pairs and of the replaced tensors of the base, in bytes."""
        pairs = sum(pair.down.nbytes + pair.up.nbytes for pair in self.lora_hooks.values())
        return pairs + self._kept_bytes

    def apply(self, model: Any, *, merge: bool = False) -> None:
        """Apply the adapters to ``model``; on an error all changes except merges are undone.

        Args:
            model: the base, as checked against the adapters.
            merge: add the LoRA pairs to the weights, which cannot be undone.

        Raises:
            ChatuiError: a tensor to be replaced is offloaded.
        """
        try:
            self._replace(model)
            if self.prefix:
                self._install_prefix(model)
            for name, pair in list(self.lora_hooks.items()):
                module = model.get_submodule(name)
                if merge and _merge(module, pair):
                    self.merged = True
                    del self.lora_hooks[name]
                else:
                    self._undo.append(module.register_forward_hook(pair).remove)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Restore the base exactly, except for merged pairs."""
        while self._undo:
            self._undo.pop()()
        self._kept_bytes = 0

    def _replace(self, model: Any) -> None:
        """Replace tensors of the base by the adapters' tensors and the resized tables."""
        changes = {name: _parameter(tensor) for name, tensor in self.replaced.items()}
        if self.vocabulary is not None:
            resized: dict[int, nn.Parameter] = {}
            for name, table in table_names(model).items():
                if name in changes:
                    changes[name] = _parameter(resize_rows(changes[name], self.vocabulary))
                else:
                    # Tied tables must stay tied.
                    if id(table) not in resized:
                        plain = table.detach()
                        if not table.is_floating_point():
                            module = model.get_submodule(name.rpartition(".")[0])
                            plain = dequantised_weight(module, self.dtype)
                        resized[id(table)] = _parameter(resize_rows(plain, self.vocabulary))
                    changes[name] = resized[id(table)]
            self._undo.append(_set_sizes(model, self.vocabulary))
        before = {name: _get(model, name) for name in changes}
        for name, tensor in changes.items():
            if before[name].is_meta:
                raise ChatuiError(say("adapters.offloaded", name=name))
            self._undo.append(_set(model, name, tensor))
        still_used = {id(parameter) for parameter in model.parameters()}
        kept = {id(tensor): tensor.nbytes for tensor in before.values()}
        self._kept_bytes = sum(size for key, size in kept.items() if key not in still_used)

    def _install_prefix(self, model: Any) -> None:
        from chatui.engine.architectures.chatglm.modeling import install_prefix

        encoder = model.transformer.prefix_encoder
        length, projection = model.config.pre_seq_len, model.config.prefix_projection

        def restore() -> None:
            model.transformer.prefix_encoder = encoder
            model.config.pre_seq_len, model.config.prefix_projection = length, projection

        install_prefix(model, self.prefix)
        self._undo.append(restore)


def read_adapters(
    plan: AdaptersPlan,
    model: Any,
    vocabulary: int | None,
    dtype: torch.dtype,
    report: Callable[[Loading], None],
) -> AppliedAdapters:
    """Read the adapters' tensors to the devices of their modules.

    Args:
        plan: the adapters, checked against ``model``.
        model: the loaded base.
        vocabulary: rows for the embeddings; None keeps the base's.
        dtype: dtype of the base's floating point weights.
        report: called with the number of bytes read so far.
    """
    cpu = torch.device("cpu")
    reader = TensorReader(plan.entries, dtype, cpu, report, say("adapters.stage"))
    applied = AppliedAdapters(vocabulary=vocabulary, dtype=dtype)
    parts: dict[str, list[tuple[Tensor, Tensor, Tensor | None, bool]]] = {}
    for adapter in plan.adapters:
        for pair in adapter.pairs:
            parts.setdefault(pair.module, []).append(_read_pair(reader, pair))
        for name, entry in adapter.replaced.items():
            original = _get(model, name)
            device = _device_of(model, name.rpartition(".")[0])
            own_dtype = original.dtype if original.is_floating_point() else dtype
            applied.replaced[name] = _read(reader, entry).to(device, own_dtype)
        applied.prefix |= {name: _read(reader, entry) for name, entry in adapter.prefix.items()}
    for module, pairs in parts.items():
        device = _device_of(model, module)
        downs, ups, biases, of_embedding = zip(*pairs, strict=True)
        present = [bias for bias in biases if bias is not None]
        applied.lora_hooks[module] = LoraHook(
            torch.cat(downs).to(device, dtype),
            torch.cat(ups, dim=1).to(device, dtype),
            torch.stack(present).sum(dim=0).to(device, dtype) if present else None,
            of_embedding[0],
        )
    return applied


def _read_pair(reader: TensorReader, pair: LoraPair) -> tuple[Tensor, Tensor, Tensor | None, bool]:
    down, up = _read(reader, pair.down).float(), _read(reader, pair.up).float()
    if pair.parts:
        up = expand_grouped(up, pair.parts)
    bias = None if pair.bias is None else _read(reader, pair.bias).float() * pair.scaling
    return down, up * pair.scaling, bias, pair.of_embedding


def _read(reader: TensorReader, entry: TensorEntry) -> Tensor:
    tensor = reader.read(entry)
    return tensor.detach() if tensor.requires_grad else tensor


def _device_of(model: Any, module: str) -> torch.device:
    """Return the device that a module runs on, even if its weights are offloaded."""
    submodule = model.get_submodule(module)
    hook = getattr(submodule, "_hf_hook", None)
    if (execution := getattr(hook, "execution_device", None)) is not None:
        return torch.device(execution)
    parameter = next(submodule.parameters(), None)
    here = model if parameter is None or parameter.is_meta else parameter
    return torch.device(here.device)


def _get(model: Any, name: str) -> Any:
    module, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(module), leaf)


def _set(model: Any, name: str, tensor: nn.Parameter) -> Callable[[], None]:
    """Replace a parameter or buffer by ``tensor``; return a function that undoes it."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    before = getattr(module, leaf)
    setattr(module, leaf, tensor if isinstance(before, nn.Parameter) else tensor.data)
    return lambda: setattr(module, leaf, before)


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _merge(module: Any, pair: LoraHook) -> bool:
    """Add a pair to a weight in float32; return False if the weight does not support it."""
    weight = getattr(module, "weight", None)
    if weight is None or not weight.is_floating_point() or weight.is_meta or pair.bias is not None:
        return False
    delta = pair.up.float() @ pair.down.float()
    transposed = isinstance(module, Conv1D) or pair.of_embedding
    total = weight.detach().float() + (delta.T if transposed else delta)
    module.weight = _parameter(total.to(weight.dtype))
    return True


def _set_sizes(model: Any, rows: int) -> Callable[[], None]:
    """Set the number of tokens of embedding and head; return a function that undoes it."""
    sizes = [(model.get_input_embeddings(), "num_embeddings")]
    if (head := model.get_output_embeddings()) is not None:
        sizes.append((head, "out_features"))
    before = [getattr(module, name) for module, name in sizes]

    def restore() -> None:
        for (module, name), size in zip(sizes, before, strict=True):
            setattr(module, name, size)

    for module, name in sizes:
        setattr(module, name, rows)
    return restore


def resize_rows(table: Tensor, rows: int) -> Tensor:
    """Truncate a table to ``rows`` rows, or extend it by the mean of its rows.

    The mean changes the probabilities of the other tokens least (Hewitt 2021, "Initializing New
    Word Embeddings for Pretrained Language Models").
    """
    missing = rows - table.shape[0]
    if missing <= 0:
        return table[:rows]
    mean = table.float().mean(dim=0, keepdim=True).to(table.dtype)
    longer = table.new_empty((rows, *table.shape[1:]))
    longer[: table.shape[0]] = table
    longer[table.shape[0] :] = mean
    return longer
