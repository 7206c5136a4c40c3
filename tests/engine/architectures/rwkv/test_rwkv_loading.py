"""Loading RWKV checkpoints, and refusing others."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_rwkv
import torch
from conftest import Ask

from chatui.engine.engine import Engine
from chatui.errors import ChatuiError
from chatui.messages import Adapter, ModelSpec

Load = Callable[..., Engine]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_file_with_its_tokenizer_beside_it(
    tmp_path: Path, load: Load, ask: Ask, dtype: str
) -> None:
    engine = load(tiny_rwkv.raven(tmp_path, dtype=dtype))
    summary = engine._loaded().summary
    assert (summary.family, summary.format, summary.dtype) == ("rwkv", "chatrwkv", "float32")
    assert summary.context_limit == 2048
    assert summary.weight_bytes == 4 * summary.parameters
    prefill, tokens, done = ask(engine, "春眠不觉晓")
    assert prefill.prompt == "Bob: 春眠不觉晓\n\nAlice:"
    assert done.output_tokens == len(tokens) == 12
    assert "".join(token.text for token in tokens).strip() == done.text


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("RWKV-4-Raven-3B-v12-Eng49%-Chn49%-Jpn1%-Other1%-20230527-ctx4096.pth", 4096),
        ("RWKV-4-Pile-14B-20230313-ctx8192-test1050.pth", 8192),
        ("RWKV-4-Pile-7B-ctx16k.pth", 16384),
        ("RWKV-4-Pile-430M-20220808-8066.pth", 1024),
    ],
)
def test_the_context_length_in_the_file_name(
    tmp_path: Path, load: Load, name: str, limit: int
) -> None:
    assert load(tiny_rwkv.raven(tmp_path, name))._loaded().context_limit == limit
    assert load(tmp_path / name, context_limit=300)._loaded().context_limit == 300


def test_a_world_model(tmp_path: Path, load: Load, ask: Ask) -> None:
    engine = load(tiny_rwkv.world(tmp_path, "RWKV-4-World-tiny.pth"))
    summary = engine._loaded().summary
    assert (summary.format, summary.context_limit) == ("chatrwkv:world", 4096)
    prefill, _, done = ask(engine, "你好")
    assert prefill.prompt == "User: 你好\n\nAssistant:"
    assert done.output_tokens > 0


def test_the_tokenizer_in_another_folder(tmp_path: Path, load: Load) -> None:
    file = tiny_rwkv.raven(tmp_path / "models" / "weights")
    (tmp_path / "elsewhere").mkdir()
    elsewhere = shutil.move(file.parent / tiny_rwkv.PILE_FILE, tmp_path / "elsewhere")
    with pytest.raises(ChatuiError, match=r"put 20B_tokenizer\.json into"):
        load(file)
    assert load(file, tokenizer=str(elsewhere))._loaded()
    assert load(file, tokenizer=str(tmp_path / "elsewhere"))._loaded()
    above = Path(shutil.copy(elsewhere, tmp_path / "models" / "rwkv-20B_tokenizer.json"))
    assert load(file)._loaded()
    above.unlink()
    named = shutil.copy(elsewhere, file.parent / "tokenizer.json")
    assert load(file)._loaded()
    Path(named).write_text("{}")
    with pytest.raises(ChatuiError, match="not a complete RWKV tokenizer"):
        load(file)


def test_the_tokenizer_of_another_model(tmp_path: Path, load: Load) -> None:
    tiny_rwkv.raven(tmp_path)
    file = tiny_rwkv.write(tmp_path / "small.pth", rows=300)
    with pytest.raises(ChatuiError, match="it has 400 tokens, but the model has 300"):
        load(file)


def spoilt(state: dict[str, Any], how: str) -> dict[str, Any]:
    block = "blocks.1.att."
    if how == "5":
        return state | {f"{block}ln_x.weight": torch.ones(8)}
    if how == "6":
        return state | {f"{block}time_maa_x": torch.ones(8)}
    if how == "7":
        names = [name for name in state if "time_" not in name]
        return {name: state[name] for name in names} | {f"{block}r_k": torch.ones(8)}
    if how == "lacks":
        return {name: value for name, value in state.items() if name != f"{block}key.weight"}
    if how == "shape":
        return state | {f"{block}key.weight": torch.ones(8, 8)}
    if how == "tiny attention":
        return state | {"blocks.1.tiny_q.weight": torch.ones(8)}
    if how == "converted":
        return {k: v for k, v in state.items() if "ln0" not in k} | {"_strategy": "cuda fp16"}
    return {"model.layers.0.weight": torch.ones(8)}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("5", "is an RWKV-5 model, but chatui runs RWKV-4 only; serve it with the rwkv package"),
        ("6", "is an RWKV-6 model, but chatui runs RWKV-4 only; use a GGUF file of the same model"),
        ("7", "is an RWKV-7 model, but chatui runs RWKV-4 only; use a GGUF file of the same model"),
        ("lacks", r"lacks the tensor blocks\.1\.att\.key\.weight of RWKV-4"),
        ("shape", r"att\.key\.weight has the shape \(8, 8\) instead of \(32, 32\)"),
        ("tiny attention", r"has the tensor blocks\.1\.tiny_q\.weight"),
        ("converted", r"was converted by convert_model\.py; download the original file"),
        ("other", "contains no RWKV model"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path: Path, load: Load, how: str, said: str) -> None:
    file = tiny_rwkv.raven(tmp_path)
    torch.save(spoilt(torch.load(file), how), file)
    with pytest.raises(ChatuiError, match=said) as caught:
        load(file)
    assert len(str(caught.value).splitlines()) == 1


class Code:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("this must not run",)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-5000]), "is truncated"),
        (lambda file: file.write_bytes(b""), "no readable weights"),
        (lambda file: file.write_bytes(b"\x00" * 4096), "no readable weights"),
        (lambda file: file.write_bytes(pickle.dumps(Code())), "contains code besides weights"),
        (lambda file: torch.save({"emb.weight": Code()}, file), "contains code besides weights"),
        (lambda file: file.unlink(), "There is no model"),
    ],
    ids=["truncated", "empty", "zeros", "pickle", "code", "missing"],
)
def test_a_broken_file(
    tmp_path: Path,
    load: Load,
    spoil: Callable[[Path], Any],
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = tiny_rwkv.raven(tmp_path)
    spoil(file)
    with pytest.raises(ChatuiError, match=said) as caught:
        load(file)
    assert len(str(caught.value).splitlines()) == 1
    assert str(file) in str(caught.value)
    assert "must not run" not in capfd.readouterr().out


def test_a_failed_load_keeps_the_previous_model(tmp_path: Path, load: Load, ask: Ask) -> None:
    engine = load(tiny_rwkv.raven(tmp_path))
    before = ask(engine, "春")[2].text
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"x")
    with pytest.raises(ChatuiError):
        engine.load(ModelSpec("bad", str(bad)), lambda _: None)
    assert ask(engine, "春")[2].text == before


def test_unsupported_options(tmp_path: Path, load: Load) -> None:
    file = tiny_rwkv.raven(tmp_path)
    with pytest.raises(ChatuiError, match="not supported on rwkv"):
        load(file, adapters=(Adapter("lora"),))
    with pytest.raises(ChatuiError, match="do not support a weight delta"):
        load(file, delta=str(tmp_path))
    assert "one device" in " ".join(load(file, device_map="auto")._loaded().summary.notes)
    with pytest.raises(ChatuiError, match=r"0 tokens"):
        load(file, context_limit=0)
