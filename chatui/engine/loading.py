"""From a spec to a loaded model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from chatui.engine.codec import codec_of, decoder_kinds
from chatui.engine.families import family_of, format_of, read_json
from chatui.engine.model import LoadedModel
from chatui.engine.network import CausalNetwork
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loaded, Loading, ModelSpec
from chatui.prompting import formats


def load_model(spec: ModelSpec, report: Callable[[Loading], None]) -> LoadedModel:
    """Load what ``spec`` asks for.

    Raises:
        ChatuiError: it cannot be loaded; the sentence says why.
    """
    began = time.monotonic()
    folder = Path(spec.path)
    if not folder.is_dir():
        raise ChatuiError(say("engine.no_such_path", path=folder))
    config = read_json(folder / "config.json")
    report(Loading(say("engine.stage_tokenizer")))
    tokenizer = AutoTokenizer.from_pretrained(spec.tokenizer or folder, local_files_only=True)
    name = spec.format or format_of(
        family_of(config), has_chat_template=bool(getattr(tokenizer, "chat_template", None))
    )
    prompt_format = formats.get(name)
    report(Loading(say("engine.stage_weights")))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    ).eval()
    codec = codec_of(tokenizer)
    return LoadedModel(
        spec=spec,
        summary=Loaded(
            name=spec.name,
            family=family_of(config),
            format=name,
            context_limit=spec.context_limit or model.config.max_position_embeddings,
            device="cpu",
            dtype="float32",
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
            load_seconds=time.monotonic() - began,
        ),
        network=CausalNetwork(model),
        codec=codec,
        format=prompt_format,
        eos_ids=_eos_ids(spec, model, tokenizer),
    )


def _eos_ids(spec: ModelSpec, model: Any, tokenizer: Any) -> frozenset[int]:
    if spec.eos_ids:
        return frozenset(spec.eos_ids)
    found = {tokenizer.eos_token_id}
    for config in (model.config, model.generation_config):
        value = getattr(config, "eos_token_id", None)
        found |= set(value) if isinstance(value, list) else {value}
    if "WordPiece" in decoder_kinds(tokenizer):
        found |= {tokenizer.pad_token_id, tokenizer.sep_token_id}
    return frozenset(id for id in found if id is not None)
