"""Adapters with a tokenizer and embeddings, such as those of Chinese-LLaMA-Alpaca."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import adapter_files
import pytest
import tiny_models
import torch
from adapter_files import ALL, expected, logits_of
from asking import ask, loaded, parts, spec
from safetensors.torch import load_file, save_file
from transformers import AddedToken

from chatui.engine.engine import Engine
from chatui.errors import ChatuiError
from chatui.messages import Adapter

Maker = Callable[[str], Path]
IDS = [5, 9, 30, 12, 7, 41, 22]
CLOSE = {"atol": 2e-5, "rtol": 1e-5}
TABLES = ["embed_tokens", "lm_head"]
WORDS = ["鹊桥仙", "满江红", "蝶恋花"]


def longer(*words: str) -> Any:
    """Return the base's tokenizer with additional words."""
    tokenizer = tiny_models.byte_fallback_tokenizer()
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    return tokenizer


@pytest.fixture
def alpaca(made: Maker, tmp_path: Path) -> tuple[Path, int]:
    """An adapter with three more tokens than its base, and its number of tokens."""
    tokenizer = longer(*WORDS)
    folder = adapter_files.lora(
        made("llama"), tmp_path / "alpaca", ALL["llama"], rows=len(tokenizer),
        tokenizer=tokenizer, modules_to_save=TABLES,
    )  # fmt: skip
    return folder, len(tokenizer)


def test_the_base_is_resized(made: Maker, alpaca: tuple[Path, int]) -> None:
    folder, rows = alpaca
    engine = loaded(made("llama"), adapters=(Adapter(str(folder)),))
    new = [rows - 1, rows - 3]
    found = logits_of(engine, IDS + new)
    assert found.shape == (rows,)
    wanted = expected(made("llama"), IDS + new, folder, rows=rows)
    torch.testing.assert_close(found, wanted, **CLOSE)
    request = parts(ask(engine, "满江红"))[0]
    assert "满江红" in request.prompt
    codec = engine._loaded().codec
    assert codec.encode("满江红")[-1] == rows - 2
    assert codec.piece(rows - 2) == "满江红"


def test_an_adapter_on_top_of_an_adapter(
    made: Maker, alpaca: tuple[Path, int], tmp_path: Path
) -> None:
    """The second adapter has one more token and embeddings of its own; both LoRAs apply."""
    tokenizer = longer(*WORDS, "[PAD]")
    rows = len(tokenizer)
    plus = adapter_files.lora(
        made("llama"), tmp_path / "plus", ALL["llama"], seed=7, rows=rows,
        tokenizer=tokenizer, modules_to_save=TABLES,
    )  # fmt: skip
    both = (Adapter(str(alpaca[0])), Adapter(str(plus)))
    engine = loaded(made("llama"), adapters=both)
    found = logits_of(engine, [*IDS, rows - 1])
    first = adapter_files.base_of(made("llama"))
    first.resize_token_embeddings(alpaca[1], mean_resizing=False)
    merged = adapter_files.PeftModel.from_pretrained(first, alpaca[0]).merge_and_unload()
    merged.resize_token_embeddings(rows, mean_resizing=False)
    whole = adapter_files.PeftModel.from_pretrained(merged, plus).merge_and_unload().eval()
    with torch.inference_mode():
        wanted = whole(input_ids=torch.tensor([[*IDS, rows - 1]])).logits[0, -1]
    torch.testing.assert_close(found, wanted, **CLOSE)
    assert engine._loaded().codec.piece(rows - 1) == "[PAD]"
    with pytest.raises(ChatuiError) as error:
        loaded(made("llama"), adapters=both[::-1])
    assert str(error.value).endswith(f"has {alpaca[1]}; apply alpaca first, then plus.")
    assert f"{rows} tokens" in str(error.value)


@pytest.mark.parametrize("table", ["embed_tokens", "lm_head"])
def test_a_pair_on_a_table_resized_by_an_earlier_adapter(
    made: Maker, alpaca: tuple[Path, int], tmp_path: Path, table: str
) -> None:
    folder = adapter_files.lora(
        made("llama"), tmp_path / "later", ["q_proj", table], seed=5, rows=alpaca[1]
    )
    keep(folder, "lora_")
    both = (Adapter(str(alpaca[0])), Adapter(str(folder)))
    found = logits_of(loaded(made("llama"), adapters=both), [*IDS, alpaca[1] - 1])
    merged = adapter_files.base_of(made("llama"))
    merged.resize_token_embeddings(alpaca[1], mean_resizing=False)
    for each in (alpaca[0], folder):
        merged = adapter_files.PeftModel.from_pretrained(merged, each).merge_and_unload().eval()
    with torch.inference_mode():
        wanted = merged(input_ids=torch.tensor([[*IDS, alpaca[1] - 1]])).logits[0, -1]
    torch.testing.assert_close(found, wanted, **CLOSE)
    with pytest.raises(ChatuiError, match=f"{table}.*{alpaca[1]}"):
        loaded(made("llama"), adapters=both[1:])


def test_one_new_table_extends_the_other(
    made: Maker, alpaca: tuple[Path, int], tmp_path: Path
) -> None:
    tokenizer = longer(*WORDS, "[PAD]")
    rows = len(tokenizer)
    later = adapter_files.lora(
        made("llama"), tmp_path / "later", ["q_proj"], rows=rows, tokenizer=tokenizer,
        modules_to_save=["embed_tokens"],
    )  # fmt: skip
    keep(later, "lora_", "embed_tokens")
    engine = loaded(made("llama"), adapters=(Adapter(str(alpaca[0])), Adapter(str(later))))
    assert logits_of(engine, [*IDS, rows - 1]).shape == (rows,)


def keep(folder: Path, *parts: str) -> None:
    """Remove all tensors of an adapter except those with one of ``parts`` in their names."""
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file).items()
    save_file({key: value for key, value in tensors if any(p in key for p in parts)}, file)


def test_a_file_uses_the_tokenizer_of_its_folder(made: Maker, alpaca: tuple[Path, int]) -> None:
    file = alpaca[0] / "adapter_model.safetensors"
    engine = loaded(made("llama"), adapters=(Adapter(str(file)),))
    assert engine._loaded().codec.encode("满江红")[-1] == alpaca[1] - 2


def test_a_later_adapter_without_embeddings_keeps_the_vocabulary(
    made: Maker, alpaca: tuple[Path, int], tmp_path: Path
) -> None:
    """Even if a trainer saved the base's tokenizer beside the adapter."""
    plain = adapter_files.lora(
        made("llama"), tmp_path / "plain", ["q_proj"], seed=3, tokenizer=longer()
    )
    engine = loaded(made("llama"), adapters=(Adapter(str(alpaca[0])), Adapter(str(plain))))
    assert engine._loaded().codec.encode("满江红")[-1] == alpaca[1] - 2
    assert logits_of(engine, IDS).shape == (alpaca[1],)


def test_removing_adapters_restores_the_base_exactly(made: Maker, alpaca: tuple[Path, int]) -> None:
    bare = spec(made("llama"))
    engine = loaded(made("llama"))
    model = engine._loaded().adaptable_base.model  # type: ignore[union-attr]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = logits_of(engine, IDS)
    text = parts(ask(engine))[2].output_ids
    adapted = replace(bare, adapters=(Adapter(str(alpaca[0])),), tokenizer=str(alpaca[0]))
    summary = engine.load(adapted, lambda _: None)
    assert summary.parameters > sum(tensor.numel() for tensor in state.values())
    with_adapter = logits_of(engine, IDS)
    assert with_adapter.shape != before.shape
    # The adapter's tokenizer is removed with it.
    engine.load(replace(adapted, adapters=()), lambda _: None)
    assert engine._loaded().adaptable_base.model is model  # type: ignore[union-attr]
    assert torch.equal(logits_of(engine, IDS), before)
    assert parts(ask(engine))[2].output_ids == text
    now = model.state_dict()
    assert now.keys() == state.keys()
    assert all(torch.equal(now[name], tensor) for name, tensor in state.items())
    assert len(engine._loaded().codec.encode("满江红")) > 2
    engine.load(adapted, lambda _: None)
    assert torch.equal(logits_of(engine, IDS), with_adapter)


def test_tied_embeddings_stay_tied(made: Maker, tmp_path: Path) -> None:
    """A tokenizer without embeddings extends the tables by the mean of their rows."""
    tokenizer = tiny_models.byte_level_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos_token="<|endoftext|>"
    )
    tokenizer.chat_template = tiny_models.CHAT_TEMPLATE
    tokenizer.add_tokens([f"<{number}>" for number in range(9)])
    folder = adapter_files.lora(made("qwen2"), tmp_path / "lora", ["q_proj"], tokenizer=tokenizer)
    engine = loaded(made("qwen2"), adapters=(Adapter(str(folder)),))
    model = engine._loaded().adaptable_base.model  # type: ignore[union-attr]
    assert model.lm_head.weight is model.model.embed_tokens.weight
    table = model.lm_head.weight
    old = len(tokenizer) - 9 + 5
    assert table.shape[0] == len(tokenizer)
    torch.testing.assert_close(table[old], table[:old].mean(dim=0))
    wanted = expected(made("qwen2"), IDS, folder)
    torch.testing.assert_close(logits_of(engine, IDS)[:old], wanted, **CLOSE)


def test_tables_for_another_width(made: Maker, tmp_path: Path) -> None:
    wide = tiny_models.llama(tmp_path / "wide", hidden_size=64)
    folder = adapter_files.lora(
        wide, tmp_path / "lora", ["q_proj"], rows=430, tokenizer=longer(), modules_to_save=TABLES
    )
    with pytest.raises(ChatuiError, match=r"embed_tokens.*430 × 64.*× 32|lm_head.*430 × 64.*× 32"):
        loaded(made("llama"), adapters=(Adapter(str(folder)),))


def test_a_tokenizer_longer_than_its_embeddings(made: Maker, tmp_path: Path) -> None:
    tokenizer = longer(*WORDS)
    folder = adapter_files.lora(
        made("llama"), tmp_path / "lora", ["q_proj"], rows=len(tokenizer) - 1,
        tokenizer=tokenizer, modules_to_save=TABLES,
    )  # fmt: skip
    rows = f"{len(tokenizer)} tokens, but its embeddings have {len(tokenizer) - 1}"
    with pytest.raises(ChatuiError, match=rows):
        loaded(made("llama"), adapters=(Adapter(str(folder)),))


def test_a_note_says_that_embeddings_are_not_scaled(made: Maker, alpaca: tuple[Path, int]) -> None:
    adapters = (Adapter(str(alpaca[0]), scale=0.5),)
    summary = Engine().load(spec(made("llama"), adapters=adapters), lambda _: None)
    assert any("not to its embeddings" in note for note in summary.notes)
