"""Write complete checkpoints with random weights, each in its authors' layout.

Each function writes config, tokenizer and weights into a folder, with the names and file formats of
the repository in its docstring. Weights are float16 or bfloat16, as published.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import preset_pieces
import preset_templates
import preset_tokenizers as tokenizers
import tiny_rwkv
import torch
import transformers
from chatglm_packing import quantise
from preset_tokenizers import write_json
from safetensors.torch import save_file

State = dict[str, torch.Tensor]

LLAMA_SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "initializer_range": 0.3, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
}  # fmt: skip


def random_state(kind: Any, config: Any, dtype: torch.dtype, seed: int = 0) -> State:
    """Return a model's weights, with random biases and norms instead of 0 and 1."""
    torch.manual_seed(seed)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    kept = model.state_dict()
    if getattr(config, "tie_word_embeddings", False):
        kept.pop("lm_head.weight", None)
    return {name: tensor.to(dtype).contiguous() for name, tensor in kept.items()}


def write_bins(folder: Path, state: State, shards: int, **torch_save: Any) -> None:
    """Write pytorch_model.bin, or its shards and their index."""
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin", **torch_save)
        return
    names = list(state)
    places = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        torch.save({name: state[name].clone() for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    size = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    write_json(folder / "pytorch_model.bin.index.json", index)


def write_safetensors(folder: Path, state: State, shards: int) -> None:
    """Write model.safetensors, or its shards and their index."""
    names = list(state)
    places = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        file = file if shards > 1 else "model.safetensors"
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        save_file({name: state[name] for name in part}, folder / file, {"format": "pt"})
        places |= dict.fromkeys(part, file)
    if shards > 1:
        size = sum(tensor.nbytes for tensor in state.values())
        index = {"metadata": {"total_size": size}, "weight_map": places}
        write_json(folder / "model.safetensors.index.json", index)


def write_config(folder: Path, config: Any, architecture: str, **changes: Any) -> None:
    """Write config.json with the keys of its time; None removes a key."""
    values = config.to_dict() | {"architectures": [architecture]} | changes
    values.pop("transformers_version", None)
    values.pop("dtype", None)
    kept = {name: value for name, value in values.items() if value is not None}
    write_json(folder / "config.json", kept)


def llama_of_2023(folder: Path, rows: int, *, safetensors: bool = False, seed: int = 0) -> State:
    """LLaMA-1 as converted in 2023: with each layer's inv_freq among the weights."""
    config = transformers.LlamaConfig(vocab_size=rows, **LLAMA_SIZES)
    state = random_state(transformers.LlamaForCausalLM, config, torch.float16, seed)
    for layer in range(config.num_hidden_layers):
        name = f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"
        state[name] = 10000 ** -(torch.arange(0, 8, 2) / 8)
    write_config(
        folder, config, "LlamaForCausalLM", rope_parameters=None, torch_dtype="float16",
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    generation = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2}
    write_json(folder / "generation_config.json", generation | {"pad_token_id": 0})
    (write_safetensors if safetensors else write_bins)(folder, state, 2)
    return state


def llama(folder: Path) -> None:
    """yahma/llama-7b-hf."""
    llama_of_2023(folder, tokenizers.llama(folder))


def llama_safetensors(folder: Path) -> None:
    """huggyllama/llama-30b."""
    llama_of_2023(folder, tokenizers.llama(folder), safetensors=True)


def decapoda(folder: Path) -> None:
    """decapoda-research/llama-7b-hf, the first of all, with the wrong ids of BOS and EOS."""
    llama_of_2023(folder, tokenizers.decapoda(folder))
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {"architectures": ["LLaMAForCausalLM"], "bos_token_id": 0, "eos_token_id": 1}
    config["max_sequence_length"] = config.pop("max_position_embeddings")
    write_json(file, config | {"pad_token_id": -1})
    wrong = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    write_json(folder / "generation_config.json", {"_from_model_config": True, **wrong})


def chinese_llama(folder: Path) -> None:
    """LLaMA with a Chinese vocabulary: BELLE-LLaMA-EXT, Linly's Chinese-LLaMA-2."""
    rows = tokenizers.chinese_llama(folder, pad_token="<unk>")
    llama_of_2023(folder, rows, safetensors=True)


def yi(folder: Path) -> None:
    """01-ai/Yi-1.5-6B-Chat: LLaMA with grouped queries; EOS is the end of a turn in the tokenizer
    alone."""
    rows = tokenizers.yi(folder)
    config = transformers.LlamaConfig(vocab_size=rows, num_key_value_heads=2, **LLAMA_SIZES)
    state = random_state(transformers.LlamaForCausalLM, config, torch.bfloat16)
    write_config(folder, config, "LlamaForCausalLM", bos_token_id=1, eos_token_id=2)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})
    write_safetensors(folder, state, 3)


def qwen25(folder: Path) -> None:
    """Qwen/Qwen2.5-0.5B-Instruct."""
    _qwen(folder, "Qwen2", tokenizers.qwen(folder), tie_word_embeddings=True)


def qwen3(folder: Path) -> None:
    """Qwen/Qwen3-0.6B."""
    rows = tokenizers.qwen(folder, preset_templates.QWEN3, thinks=True)
    _qwen(folder, "Qwen3", rows, tie_word_embeddings=True, head_dim=16)


def deepseek_qwen(folder: Path) -> None:
    """deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B."""
    _qwen(folder, "Qwen2", tokenizers.deepseek(folder))


def deepseek_qwen3(folder: Path) -> None:
    """deepseek-ai/DeepSeek-R1-0528-Qwen3-8B."""
    _qwen(folder, "Qwen3", tokenizers.deepseek(folder), head_dim=16)


def deepseek_llama(folder: Path) -> None:
    """deepseek-ai/DeepSeek-R1-Distill-Llama-8B: rotary positions scaled as Llama 3.1's."""
    rope = {
        "rope_type": "llama3", "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 512, "rope_theta": 500000.0,
    }  # fmt: skip
    _qwen(folder, "Llama", tokenizers.deepseek(folder), rope_parameters=rope)


def _qwen(folder: Path, family: str, rows: int, **options: Any) -> None:
    sizes = LLAMA_SIZES | {"num_key_value_heads": 2, "vocab_size": rows} | options
    config = getattr(transformers, f"{family}Config")(**sizes)
    architecture = f"{family}ForCausalLM"
    state = random_state(getattr(transformers, architecture), config, torch.bfloat16)
    vocabulary = _vocabulary(folder)
    chatml = "<|im_end|>" in vocabulary
    last = vocabulary["<|im_end|>" if chatml else tokenizers.EOS]
    first = vocabulary["<|endoftext|>" if chatml else tokenizers.BOS]
    write_config(folder, config, architecture, bos_token_id=first, eos_token_id=last)
    ends = [last, first] if chatml else last
    generation = {"bos_token_id": first, "eos_token_id": ends, "do_sample": True}
    write_json(folder / "generation_config.json", generation)
    write_safetensors(folder, state, 1)


def glm4(folder: Path) -> None:
    """THUDM/GLM-4-9B-0414."""
    _glm(folder, "Glm4", preset_templates.GLM4_0414)


def glm_z1(folder: Path) -> None:
    """THUDM/GLM-Z1-9B-0414."""
    _glm(folder, "Glm4", preset_templates.GLM_Z1)


def glm4_chat(folder: Path) -> None:
    """THUDM/glm-4-9b-chat-hf."""
    _glm(folder, "Glm", preset_templates.GLM4_CHAT)


def _glm(folder: Path, family: str, template: str) -> None:
    rows = tokenizers.glm(folder, template)
    vocabulary = _vocabulary(folder)
    ends = [vocabulary[mark] for mark in ("<|endoftext|>", "<|user|>", "<|observation|>")]
    config = getattr(transformers, f"{family}Config")(
        **LLAMA_SIZES | {"head_dim": 8, "num_key_value_heads": 2, "vocab_size": rows},
        pad_token_id=ends[0], eos_token_id=ends, attention_bias=True,
    )  # fmt: skip
    architecture = f"{family}ForCausalLM"
    state = random_state(getattr(transformers, architecture), config, torch.bfloat16)
    write_config(folder, config, architecture)
    write_json(folder / "generation_config.json", {"eos_token_id": ends, "pad_token_id": ends[0]})
    write_safetensors(folder, state, 2)


def minicpm3(folder: Path) -> None:
    """openbmb/MiniCPM3-4B: latent attention; its config names remote code."""
    rows = tokenizers.minicpm3(folder)
    config = transformers.MiniCPM3Config(
        **LLAMA_SIZES | {"vocab_size": rows, "num_key_value_heads": 4}, q_lora_rank=16,
        kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8,
    )  # fmt: skip
    state = random_state(transformers.MiniCPM3ForCausalLM, config, torch.bfloat16)
    end = preset_pieces.id_of(preset_pieces.chatml(), "<|im_end|>")
    code = {"AutoConfig": "configuration_minicpm.MiniCPM3Config"}
    write_config(folder, config, "MiniCPM3ForCausalLM", auto_map=code, eos_token_id=[2, end])
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": [2, end]})
    write_safetensors(folder, state, 1)


def internlm3(folder: Path) -> None:
    """internlm/internlm3-8b-instruct: LLaMA's network under another name and remote code."""
    rows = tokenizers.internlm3(folder)
    config = transformers.InternLM3Config(
        **LLAMA_SIZES | {"vocab_size": rows, "num_key_value_heads": 2}, head_dim=16
    )
    state = random_state(transformers.LlamaForCausalLM, config, torch.bfloat16)
    end = preset_pieces.id_of(preset_pieces.chatml(), "<|im_end|>")
    code = {"AutoConfig": "configuration_internlm3.InternLM3Config"}
    write_config(folder, config, "InternLM3ForCausalLM", auto_map=code, bias=False, qkv_bias=False)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": [2, end]})
    write_safetensors(folder, state, 3)


def bloomz(folder: Path) -> None:
    """bigscience/bloomz-560m: the inner model's weights, without the prefix "transformer."."""
    state = _bloom(folder)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    write_safetensors(folder, bare, 1)


def bloom_tuned(folder: Path) -> None:
    """BelleGroup/BELLE-7B-2M and FreedomIntelligence's Phoenix: saved after tuning, in shards."""
    state = _bloom(folder)
    write_bins(folder, state | {"lm_head.weight": state["transformer.word_embeddings.weight"]}, 2)


def _bloom(folder: Path) -> State:
    rows = tokenizers.bloom(folder) + 8
    config = transformers.BloomConfig(
        vocab_size=rows, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3,
        bos_token_id=1, eos_token_id=2, pad_token_id=3,
    )  # fmt: skip
    # The names that BLOOM's own config has.
    write_config(
        folder, config, "BloomForCausalLM", hidden_size=None, n_embed=32, n_head=None,
        num_attention_heads=4, torch_dtype="float16",
    )  # fmt: skip
    return random_state(transformers.BloomForCausalLM, config, torch.float16)


def gpt2_chinese(folder: Path) -> None:
    """uer/gpt2-chinese-cluecorpussmall: only pytorch_model.bin, with the masks as buffers."""
    rows = tokenizers.gpt2_chinese(folder)
    config = transformers.GPT2Config(
        vocab_size=rows, n_positions=1024, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3,
    )  # fmt: skip
    state = random_state(transformers.GPT2LMHeadModel, config, torch.float32)
    for layer in range(config.n_layer):
        mask = torch.ones(1024, 1024, dtype=torch.uint8).tril().view(1, 1, 1024, 1024)
        state[f"transformer.h.{layer}.attn.bias"] = mask
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    state["lm_head.weight"] = state["transformer.wte.weight"]
    write_config(
        folder, config, "GPT2LMHeadModel", tokenizer_class="BertTokenizer", n_ctx=1024,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    write_bins(folder, state, 1, _use_new_zipfile_serialization=False)


def moss(folder: Path) -> None:
    """fnlp/moss-moon-003-sft: CodeGen's weights under MOSS's name, in shards, and the mask too."""
    rows = tokenizers.moss(folder)
    sizes = {
        "vocab_size": rows, "n_positions": 2048, "n_ctx": 2048, "n_embd": 16, "n_layer": 2,
        "n_head": 4, "rotary_dim": 4, "initializer_range": 0.3, "tie_word_embeddings": False,
    }  # fmt: skip
    config = transformers.CodeGenConfig(**sizes)
    state = random_state(transformers.CodeGenForCausalLM, config, torch.float16)
    for layer in range(config.n_layer):
        mask = torch.ones(2048, 2048, dtype=torch.bool).tril().view(1, 1, 2048, 2048)
        state[f"transformer.h.{layer}.attn.causal_mask"] = mask
    ends = {"bos_token_id": tokenizers.MOSS_EOM, "eos_token_id": tokenizers.MOSS_EOM}
    write_config(
        folder, config, "MossForCausalLM", model_type="moss", wbits=32, torch_dtype="float16",
        tokenizer_class="MossTokenizer", **ends,
        auto_map={"AutoConfig": "configuration_moss.MossConfig"},
    )  # fmt: skip
    write_bins(folder, state, 2)


def chatglm(folder: Path) -> None:
    """THUDM/chatglm-6b: eight shards; the quantised ones are single files."""
    write_bins(folder, chatglm_state(folder), 8)


def chatglm_int8(folder: Path) -> None:
    """THUDM/chatglm-6b-int8."""
    write_bins(folder, chatglm_packed(folder, 8), 1)


def chatglm_int4(folder: Path) -> None:
    """THUDM/chatglm-6b-int4."""
    write_bins(folder, chatglm_packed(folder, 4), 1)


def chatglm_state(folder: Path, **changes: Any) -> State:
    """Write config and tokenizer of ChatGLM-6B; its weights under their own names."""
    from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig
    from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM

    rows = tokenizers.ice_text(folder)
    sizes = {"hidden_size": 32, "num_layers": 2, "num_attention_heads": 2, "inner_hidden_size": 64}
    names = {
        "bos_token_id": "<sop>", "eos_token_id": "<eop>", "mask_token_id": "[MASK]",
        "gmask_token_id": "[gMASK]", "pad_token_id": "<pad>",
    }  # fmt: skip
    pieces = preset_pieces.ice_text()
    ids = {key: preset_pieces.id_of(pieces, piece) for key, piece in names.items()}
    config = ChatGLMConfig(vocab_size=rows, initializer_range=0.3, **sizes, **ids)
    state = random_state(ChatGLMForCausalLM, config, torch.float16)
    for layer in range(config.num_layers):
        name = f"transformer.layers.{layer}.attention.rotary_emb.inv_freq"
        state[name] = (10000 ** -(torch.arange(0, 8, 2) / 8)).half()
    code = {"AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration"}
    common = {"architectures": ["ChatGLMModel"], "auto_map": code, "model_type": "chatglm"}
    facts = {
        "position_encoding_2d": True, "layernorm_epsilon": 1e-5, "max_sequence_length": 2048,
        "torch_dtype": "float16", "use_cache": True, "vocab_size": rows,
    }  # fmt: skip
    write_json(folder / "config.json", {**common, **sizes, **ids, **facts, **changes})
    return state


def chatglm_packed(folder: Path, bits: int) -> State:
    """Quantise the linear layers of the blocks to ``bits``, as in the quantised checkpoints."""
    state = chatglm_state(folder, quantization_bit=bits, quantization_embeddings=False)
    linears = (".query_key_value.weight", ".dense.weight", "_4h.weight", "4h_to_h.weight")
    for name in [name for name in state if name.endswith(linears)]:
        state[name], state[f"{name}_scale"] = quantise(state[name], bits)
    return state


def rwkv_raven(folder: Path) -> None:
    """BlinkDL/rwkv-4-raven: a .pth file; ``Shelf`` moves the tokenizer to its own repository."""
    tiny_rwkv.raven(folder, "weights.pth")


def rwkv_world(folder: Path) -> None:
    """BlinkDL/rwkv-4-world."""
    tiny_rwkv.world(folder, "weights.pth")


def _vocabulary(folder: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    vocabulary: dict[str, int] = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    return vocabulary
