"""The embedded model as it ships: its files, its tokenizer, its verse."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertTokenizer

from training import forms
from training.dialogues import frame
from training.evaluate import Generator, prompt
from training.forms import FORMS, Form

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "shiyou"
WEIGHTS = ASSETS / "model.safetensors"
TEXT = (
    "[Round 0]\n问：你好，write Abc 12！\n答：《秋夜》\n床前明月光，疑是地上霜。\n"
    "[Round 1]\n问：换成七言\n答："
)

TITLES = ["秋夜", "江上", "编程", "明月"]
OTHERS = ("你会编程吗", "你好", "1+1等于几")

weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="the weights are not trained yet")


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(ASSETS)


@pytest.mark.parametrize("loader", [AutoTokenizer, BertTokenizer])
def test_the_tokenizer_loses_nothing(loader: type) -> None:
    tokenizer = loader.from_pretrained(ASSETS)
    ids = tokenizer.encode(TEXT)
    assert ids[1:-1] == tokenizer.encode(TEXT, add_special_tokens=False)
    tokens = tokenizer.convert_ids_to_tokens(ids[1:-1])
    text = "".join(token.removeprefix("##") for token in tokens)
    assert text == TEXT.replace(" ", "")
    assert "Round" in tokens
    assert tokens.count("\n") == TEXT.count("\n")


def test_the_vocabulary_file_and_the_tokenizer_agree() -> None:
    tokens = (ASSETS / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = BertTokenizer.from_pretrained(ASSETS)
    assert tokenizer.convert_tokens_to_ids(tokens) == list(range(len(tokens)))


@weights
def test_the_model_is_small_and_half_precision(generator: Generator) -> None:
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) <= 24_000_000
    config = json.loads((ASSETS / "config.json").read_text())
    assert config["model_type"] == "gpt2"
    assert config["n_positions"] >= 512
    assert config["dtype"] == "float16"


@pytest.fixture(scope="module")
def replies(generator: Generator) -> dict[str, list[str]]:
    """What it answers to some queries of each kind, all written at once."""
    torch.manual_seed(1)
    verse = "《秋夜》\n床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"
    later = prompt([("以《秋夜》为题写一首五言绝句", verse)], "换成七言")
    asked = {
        form.name: [prompt([], f"以《{title}》为题写一首{form.name}") for title in TITLES]
        for form in FORMS
    }
    asked |= {"later": [later] * 4, "other": [frame(0, query) for query in OTHERS]}
    found = iter(generator.replies([query for queries in asked.values() for query in queries]))
    return {kind: [next(found) for _ in queries] for kind, queries in asked.items()}


@weights
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_poems_in_each_form(replies: dict[str, list[str]], form: Form) -> None:
    found = replies[form.name]
    good = [forms.is_poem(r, form, t) for r, t in zip(found, TITLES, strict=True)]
    assert sum(good) >= 3, found


@weights
def test_a_follow_up_changes_the_form_and_keeps_the_title(replies: dict[str, list[str]]) -> None:
    found = replies["later"]
    assert sum(forms.is_poem(reply, Form(7, 4), "秋夜") for reply in found) >= 3, found


@weights
def test_an_answer_to_what_it_cannot_do_ends(replies: dict[str, list[str]]) -> None:
    found = replies["other"]
    assert all(reply and not reply.endswith("…") for reply in found), found
