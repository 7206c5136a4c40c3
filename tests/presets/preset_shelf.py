"""Put the parts of a preset into the hub's cache and into model folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import preset_adapters as adapters
import preset_checkpoints as checkpoints
import tiny_rwkv

from chatui.catalog import schema
from chatui.catalog.schema import Part
from chatui.messages import ModelSpec

Maker: TypeAlias = Callable[[Path], None]
Addition: TypeAlias = Callable[[Path, Path], None]
Preset: TypeAlias = Callable[..., ModelSpec]
COMMIT = "0123456789abcdef0123456789abcdef01234567"

_BASES: dict[str, Maker] = {
    "chatglm": checkpoints.chatglm,
    "moss": checkpoints.moss,
    "gpt2": checkpoints.gpt2_chinese,
    "bloom": checkpoints.bloom_tuned,
    "llama": checkpoints.llama,
    "qwen2": checkpoints.qwen25,
    "qwen3": checkpoints.qwen3,
    "glm4": checkpoints.glm4,
    "glm": checkpoints.glm4_chat,
    "minicpm3": checkpoints.minicpm3,
    "internlm3": checkpoints.internlm3,
}
# (family, part of the repository's id) of repositories with a special layout.
_OTHERS: dict[tuple[str, str], Maker] = {
    ("chatglm", "-int8"): checkpoints.chatglm_int8,
    ("chatglm", "-int4"): checkpoints.chatglm_int4,
    ("bloom", "bigscience/"): checkpoints.bloomz,
    ("llama", "huggyllama/"): checkpoints.llama_safetensors,
    ("llama", "decapoda-research/"): checkpoints.decapoda,
    ("llama", "BELLE-LLaMA-EXT"): checkpoints.chinese_llama,
    ("llama", "Linly-AI/"): checkpoints.chinese_llama,
    ("llama", "01-ai/"): checkpoints.yi,
    ("llama", "deepseek-ai/"): checkpoints.deepseek_llama,
    ("qwen2", "deepseek-ai/"): checkpoints.deepseek_qwen,
    ("qwen3", "deepseek-ai/"): checkpoints.deepseek_qwen3,
    ("glm4", "GLM-Z1"): checkpoints.glm_z1,
    ("rwkv", "rwkv-4-raven"): checkpoints.rwkv_raven,
    ("rwkv", "rwkv-4-world"): checkpoints.rwkv_world,
}
_ADAPTERS: dict[str, Addition] = {
    "llama": adapters.llama_attention,
    "chatglm": adapters.fused_attention,
    "bloom": adapters.fused_attention,
    "moss": adapters.moss_attention,
}
_OTHER_ADAPTERS: dict[str, Addition] = {
    "chinese-llama-plus": adapters.chinese_llama_plus,
    "chinese-alpaca": adapters.chinese_alpaca,
    "camelbell": adapters.bare_state_dict,
}


class Shelf:
    """The checkpoints and adapters made in this test session, each made once.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def base(self, preset: schema.Preset, part: Part) -> Path:
        """Return the folder of a base's files."""
        make = _base_of(preset, part)
        return self._made(make.__name__, make)

    def addition(self, base: Path, make: Addition) -> Path:
        """Return the folder of an adapter or delta."""
        return self._made(f"{make.__name__}-on-{base.name}", lambda folder: make(base, folder))

    def _made(self, name: str, make: Maker) -> Path:
        folder = self._root / name
        if not folder.exists():
            folder.mkdir(parents=True)
            make(folder)
        return folder

    def place(self, preset: schema.Preset, home: Path, base: Part | None = None) -> None:
        """Put all parts of a preset into a cache and a model folder.

        Args:
            home: folder for ``hub`` (a Hugging Face cache) and ``models`` (a settings' folder).
            base: a copy of the base in another repository.
        """
        chosen = base or preset.base
        if chosen.asset:
            return
        fields = preset.fields
        made = self.base(preset, chosen)
        if fields.family == "rwkv":
            self._place_rwkv(preset, made, home)
            return
        _put(chosen, made, home)
        for part in fields.adapters or ():
            _put(part, self.addition(made, _adapter_of(preset, part)), home)
        if fields.delta:
            _put(fields.delta, self.addition(made, adapters.chimera_delta), home)

    @staticmethod
    def _place_rwkv(preset: schema.Preset, made: Path, home: Path) -> None:
        tokenizer = preset.fields.tokenizer
        assert tokenizer
        world = preset.fields.format == "chatrwkv:world"
        vocabulary = made / (tiny_rwkv.WORLD_FILE if world else tiny_rwkv.PILE_FILE)
        _link(made / "weights.pth", _folder(preset.base, home) / preset.base.file)
        _link(vocabulary, _folder(tokenizer, home) / (tokenizer.file or "tokenizer.json"))


def assembly_of(preset: schema.Preset) -> tuple[str, ...]:
    """The kinds of a preset's parts; presets that differ only in size have the same."""
    if preset.base.asset:
        return (preset.base.asset,)
    adapters = (_adapter_of(preset, part).__name__ for part in preset.fields.adapters or ())
    delta = ("delta",) if preset.fields.delta else ()
    return (_base_of(preset, preset.base).__name__, *adapters, *delta)


def _base_of(preset: schema.Preset, part: Part) -> Maker:
    family = preset.fields.family or ""
    others = (make for (of, has), make in _OTHERS.items() if of == family and has in part.title)
    return next(others, None) or _BASES[family]


def _adapter_of(preset: schema.Preset, part: Part) -> Addition:
    others = (make for has, make in _OTHER_ADAPTERS.items() if has in part.title)
    return next(others, None) or _ADAPTERS[preset.fields.family or ""]


def _put(part: Part, files: Path, home: Path) -> None:
    folder = _folder(part, home)
    for file in files.iterdir():
        _link(file, folder / file.name)


def _folder(part: Part, home: Path) -> Path:
    """The folder of a part's files in huggingface_hub's layout."""
    if part.local:
        folder = home / "models" / part.local
    else:
        repository = home / "hub" / f"models--{part.hf.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text(COMMIT)
        folder = repository / "snapshots" / COMMIT / part.folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _link(file: Path, link: Path) -> None:
    if not link.exists():
        link.symlink_to(file)
