"""Models with random weights for ``gpu.py``, created on the device without files or a network."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from chatui.engine.adapters.applied import AppliedAdapters, LoraHook
from chatui.engine.architecture import network_class
from chatui.engine.architectures.chatglm.chatglm_network import ChatGLMNetwork
from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig
from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM
from chatui.engine.architectures.chatglm.quantisation import ChatGLMQuantisedLinear
from chatui.engine.cache import LastPromptCache
from chatui.engine.codec import Codec
from chatui.engine.detokenizer import BytesDetokenizer
from chatui.engine.model import LoadedModel
from chatui.engine.network import CausalNetwork
from chatui.messages import Loaded, ModelSpec
from chatui.prompting import formats

WINDOW = 2048
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama-7B, 16 of 32 layers": (
        "Llama",
        {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
         "num_hidden_layers": 16, "num_attention_heads": 32, "max_position_embeddings": WINDOW},
    ),
    "ChatGLM-6B, 14 of 28 layers": ("chatglm", {"num_layers": 14}),
    "ChatGLM-6B, 14 of 28 layers, int8": ("chatglm", {"num_layers": 14, "quantization_bit": 8}),
    "ChatGLM-6B, 14 of 28 layers, int4": ("chatglm", {"num_layers": 14, "quantization_bit": 4}),
    "Qwen3-1.7B, 28 layers": (
        "Qwen3",
        {"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "head_dim": 128,
         "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
         "tie_word_embeddings": True, "max_position_embeddings": WINDOW},
    ),
}  # fmt: skip
_TINY = {
    "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
_LLAMA_LINE = _TINY | {"intermediate_size": 96, "num_key_value_heads": 2}
_ENDS = {"bos_token_id": 1, "eos_token_id": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "GPT2": _ENDS | {"vocab_size": 320, "n_embd": 64, "n_layer": 2, "n_head": 4},
    "Llama": _LLAMA_LINE,
    "Qwen2": _LLAMA_LINE,
    "Qwen3": _LLAMA_LINE | {"head_dim": 16},
    "Glm": _LLAMA_LINE | {"head_dim": 16, "pad_token_id": 0},
    "Glm4": _LLAMA_LINE | {"head_dim": 16, "pad_token_id": 0},
    "Bloom": {"vocab_size": 320, "hidden_size": 64, "n_layer": 2, "n_head": 4},
    "CodeGen": _ENDS
    | {"vocab_size": 320, "n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8},
    "chatglm": {},
}
"""A tiny model of each family, for comparing the GPU with the CPU."""
_CHATGLM_TINY: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "num_layers": 2, "num_attention_heads": 4,
    "inner_hidden_size": 96, "bos_token_id": 304, "eos_token_id": 305,
}  # fmt: skip


def make(family: str, values: dict[str, Any], dtype: torch.dtype, device: str, wide: float) -> Any:
    """Return a model in evaluation mode; ``wide`` is the standard deviation of its weights."""
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            if family == "chatglm":
                model: Any = ChatGLMForCausalLM(ChatGLMConfig(**values))
            else:
                config = getattr(transformers, f"{family}Config")(**values, initializer_range=wide)
                model = network_class(config, family)(config)
    finally:
        torch.set_default_dtype(torch.float32)
    if family == "chatglm":
        for module in model.modules():
            if isinstance(module, ChatGLMQuantisedLinear):
                module.weight.data.random_(-128, 127)
                module.weight_scale.data.fill_(1e-3)
            elif isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                module.weight.data.normal_(0, wide)
            if getattr(module, "bias", None) is not None:
                module.bias.data.zero_()
    return model.eval()


def shape_of(family: str, values: dict[str, Any], dry: bool) -> dict[str, Any]:
    """Return the shape, or a tiny one of the same family."""
    if not dry:
        return values
    return values | _CHATGLM_TINY if family == "chatglm" else FAMILIES[family]


def tiny_values(family: str) -> dict[str, Any]:
    return _CHATGLM_TINY if family == "chatglm" else FAMILIES[family]


def network_of(model: Any, family: str) -> Any:
    """Return chatui's network for a model."""
    return ChatGLMNetwork(model, WINDOW) if family == "chatglm" else CausalNetwork(model, WINDOW)


def prompt_ids(model: Any, family: str, count: int) -> list[int]:
    """Return ``count`` prompt ids; different counts give different prompts."""
    rows = 300
    ids = [3 + (7 * index + count) % (rows - 20) for index in range(count)]
    if family == "chatglm":
        ids[-2:] = [model.config.gmask_token_id, model.config.bos_token_id]
    return ids


def loaded_model(model: Any, family: str, network: Any) -> LoadedModel:
    """Return a model for the decode loop whose prompts are numbers of tokens as text."""
    codec = Codec(
        encode=lambda text: prompt_ids(model, family, int(text)),
        piece=str,
        detokenizer=lambda: BytesDetokenizer(lambda _: b"."),
    )
    spec = ModelSpec("benchmark", "", reply_reserve=1)
    summary = Loaded("benchmark", family, "bloomz", WINDOW)
    return LoadedModel(
        spec, summary, network, codec, formats.get("bloomz"), frozenset(), LastPromptCache()
    )


def put_lora_on(model: Any) -> AppliedAdapters:
    """Apply LoRA of rank 8 to all linear layers of the blocks, as chatui does."""
    applied = AppliedAdapters()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "head" not in name:
            where = model.get_output_embeddings().weight
            down = torch.empty(8, module.in_features).normal_(0, 0.01)
            up = torch.empty(module.out_features, 8).normal_(0, 0.01)
            applied.lora_hooks[name] = LoraHook(down.to(where), up.to(where))
    applied.apply(model)
    return applied


def read_bytes(model: Any) -> int:
    """Return the bytes of weights read per token: all but separate input embeddings."""
    table = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    total = sum(parameter.nbytes for parameter in model.parameters())
    return total if head is table else total - table.nbytes
