"""Training examples equal those of the article's own code."""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Callable
from itertools import starmap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models

from chatui.catalog.resolving import LocatedTokenizer
from chatui.conversation.dialogues import Dialogue, parse_record
from chatui.engine.examples.example_encoder import ExampleEncoder, load_encoder
from chatui.engine.examples.example_layout import ExampleLimits
from chatui.engine.examples.training_example import (
    ChatGLMTokens,
    alpaca_example,
    causal_example,
    chatglm_example,
)
from chatui.engine.tokenizers import load_tokenizer
from chatui.prompting import formats

CLOTHES = "类型#上衣*材质#牛仔布*颜色#白色*风格#简约*图案#刺绣*衣样式#外套*衣款式#破洞"
COAT = "简约而不简单的牛仔外套,白色的衣身十分百搭。\n  衣身多处有做旧破洞设计,\t打破单调乏味。"
HISTORIES: tuple[list[list[str]], ...] = (
    [],
    [["你好", "你好！"]],
    [["1+1等于几？", "等于2。"], ["再加3呢？", "等于5。"]],
)
TEXTS = (
    (CLOTHES, COAT),
    ("你", "好"),
    ("a", " "),
    ("<sop> in a query", "a <pad> and <eop> in a reply"),
    ("[gMASK]</s> 🎉\ud83d", "x" * 50),
)


def article(reference: Path, part: str, end: str) -> str:
    """Return the article's code block that contains ``part``, up to ``end``."""
    text = (reference / "article.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return next(block for block in blocks if part in block).partition(end)[0]


# ChatGLM-6B


@pytest.fixture(scope="module")
def chatglm(reference: Path) -> Any:
    return load_tokenizer(reference / "chatglm-6b" / "model", "chatglm")


@pytest.fixture(scope="module")
def articles_chatglm(reference: Path, chatglm: Any) -> Callable[..., tuple[Any, Any]]:
    """Return a function from query, reply, history and limits to the article's ids and labels."""
    code = article(reference, "def preprocess_function_train", "res = preprocess")
    space: dict[str, Any] = {"tokenizer": chatglm, "print": lambda *_: None}
    exec(code, space)

    def run(query: str, reply: str, history: Any, source: int, target: int) -> Any:
        space["data_args"].max_source_length = source
        space["data_args"].max_target_length = target
        space["history_column"] = None if history is None else "history"
        made = space["preprocess_function_train"](
            {"input": [query], "label": [reply], "history": [history]}
        )
        return [*zip(made["input_ids"], made["labels"], strict=True)]

    return run


def made_by(
    tokenizer: Any, family: Any, dialogue: Dialogue, limits: ExampleLimits, form: str
) -> list[tuple[list[int], list[int]]]:
    encoder = ExampleEncoder(tokenizer, family, formats.get(form), limits)
    pairs = [encoder.text_pair(dialogue, place) for place in dialogue.trained_replies(None)]
    ids = encoder.encode_pairs([pair for pair in pairs if pair])
    found = starmap(encoder.layout.arrange, ids)
    return [(each.input_ids, each.labels) for each in found]


@pytest.mark.parametrize("limits", [(64, 64), (1, 2), (2, 3), (10, 200), (200, 5), (33, 25)])
def test_chatglm_examples_equal_the_articles(
    chatglm: Any, articles_chatglm: Callable[..., Any], limits: tuple[int, int]
) -> None:
    for query, reply in (*TEXTS, ("", "x"), ("x", "")):
        for history in (None, *HISTORIES):
            row = {"prompt": query, "response": reply}
            dialogue = parse_record(row if history is None else row | {"history": history})
            made = made_by(chatglm, "chatglm", dialogue, ExampleLimits(*limits), "chatglm-6b")
            assert made == articles_chatglm(query, reply, history, *limits)


def test_chatglm_learns_each_reply_of_a_conversation(
    chatglm: Any, articles_chatglm: Callable[..., Any]
) -> None:
    pairs = [["你好", "你好！"], ["介绍一下北京", "北京是首都。"], ["谢谢", "不客气"]]
    made = made_by(chatglm, "chatglm", parse_record(pairs), ExampleLimits(), "chatglm-6b")
    # The first query of a conversation is not numbered, as in the model's own chat().
    expected = [articles_chatglm(*pairs[0], None, 64, 64)]
    expected += [articles_chatglm(*pairs[n], pairs[:n], 64, 64) for n in (1, 2)]
    assert made == [example for (example,) in expected]


def test_encoding_many_texts_equals_encoding_each(chatglm: Any) -> None:
    texts = [text for pair in TEXTS for text in pair] + ["", "a  b   c", "\n\n", "[MASK] x"]
    expected = [chatglm.encode(text, add_special_tokens=False) for text in texts]
    assert chatglm.encode_texts(texts) == expected


# LLaMA with the Alpaca template


@pytest.fixture(scope="module")
def llama(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("llama")
    vocabulary = (reference / "tokenizers" / "chinese-llama.sp.model").read_bytes()
    (folder / "tokenizer.model").write_bytes(vocabulary)
    tokenizer = load_tokenizer(folder, "llama")
    tokenizer.pad_token = "<unk>"
    return tokenizer


@pytest.mark.parametrize("max_length", [1, 30, 45, 60, 192])
def test_alpaca_examples_equal_the_articles(reference: Path, llama: Any, max_length: int) -> None:
    code = article(reference, "class NerCollate", "if __name__")
    space: dict[str, Any] = {}
    exec(code, space)
    columns = {"instruct_column": "instruct", "query_column": "query"}
    args = SimpleNamespace(**columns, response_column="answer", max_seq_length=max_length)
    collate = space["NerCollate"](args, llama).collate_fn
    texts = [(query, added, reply) for query, reply in TEXTS[:4] for added in (None, "", "一\n二")]
    for query, added, reply in [*texts, ("指令", None, ""), ("", "x", "y")]:
        row = {"instruct": query, "query": added, "answer": reply}
        expected = collate([row])
        made = made_by(
            llama,
            "alpaca",
            parse_record(row),
            ExampleLimits(max_length=max_length),
            "alpaca:article",
        )
        assert made == [(expected["input_ids"][0].tolist(), expected["labels"][0].tolist())]


def test_a_lone_surrogate_becomes_the_replacement_character(llama: Any) -> None:
    made = [
        made_by(llama, "alpaca", parse_record([[text, text]]), ExampleLimits(), "alpaca:article")
        for text in ("a\ud83d", "a\ufffd")
    ]
    assert made[0] == made[1]


def test_alpaca_repeats_the_template_for_each_round(llama: Any) -> None:
    encoder = ExampleEncoder(llama, "alpaca", formats.get("alpaca:article"), ExampleLimits())
    pair = encoder.text_pair(parse_record([["一", "1"], ["二", "2"]]), 1)
    assert pair is not None and pair.prompt.endswith(
        "### Instruction:\n一\n\n### Response: 1\n\n### Instruction:\n二\n\n### Response: "
    )
    ((source, target),) = encoder.encode_pairs([pair])
    assert source[0] == llama.bos_token_id and target[-1] == llama.eos_token_id


# BLOOMZ, GPT and the like


@pytest.fixture(scope="module")
def bloom() -> Any:
    specials = ["<unk>", "<s>", "</s>", "<pad>"]
    return tiny_models.byte_level_tokenizer(specials, eos_token="</s>", pad_token="<pad>")


def test_a_common_beginning_changes_no_ids() -> None:
    """The beginning is encoded once, unless an added token could span its end."""
    dice = random.Random(0)
    parts = [*"aB1 .,'\n\r\t春，！🙂\u0301#:", "'s", "\n\n", "### Instruction:\n", "</s>", "\ud83d"]
    texts = ["".join(dice.choices(parts, k=dice.randrange(12))) for _ in range(200)]
    dialogues = [parse_record([[text, text]]) for text in texts]
    for token in ("</s>", "# Instruction:\nB"):
        specials = ["<unk>", "<s>", "</s>", "<pad>"]
        tokenizer = tiny_models.byte_level_tokenizer(specials, eos_token="</s>", pad_token="<pad>")
        tokenizer.add_tokens(token)
        encoder = ExampleEncoder(
            tokenizer, "alpaca", formats.get("alpaca:article"), ExampleLimits()
        )
        pairs = [pair for each in dialogues if (pair := encoder.text_pair(each, 0))]
        assert encoder.encode_pairs(pairs) == [encoder.encode_pairs([pair])[0] for pair in pairs]


@pytest.mark.parametrize("max_length", [1, 5, 30, 64, 400])
def test_causal_examples_equal_the_articles(reference: Path, bloom: Any, max_length: int) -> None:
    block = article(reference, "bloomz-560m", "# 对于测试数据")
    # Some lines of the block begin with a superfluous space.
    code = re.sub(
        r"^ (?=\S)", "", block.partition("# 针对于训练数据")[2].partition("\n")[2], flags=re.M
    )
    code = textwrap.dedent(code).replace("max_length = 64", f"max_length = {max_length}")
    for query, reply in (*TEXTS[:4], ("春眠不觉晓", "")):
        space: dict[str, Any] = {"tokenizer": bloom, "print": lambda *_: None}
        space |= {"model_inputs": bloom([query]), "labels": bloom([reply])}
        exec(code, space)
        inputs, labels = space["model_inputs"], space["labels"]
        encoder = ExampleEncoder(
            bloom, "causal", formats.get("bloomz"), ExampleLimits(max_length=max_length)
        )
        pair = encoder.text_pair(parse_record({"input": query, "label": reply}), 0)
        assert pair is not None
        example = encoder.layout.arrange(*encoder.encode_pairs([pair])[0])
        assert example.input_ids == inputs["input_ids"][0].tolist()
        assert example.attention_mask == inputs["attention_mask"][0].tolist()
        assert example.labels == labels["input_ids"][0].tolist()


def test_a_chat_template_gives_the_end_of_a_reply() -> None:
    from chatui.engine.tokenizers import compile_template
    from chatui.prompting.chat_template import chat_template_format

    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = tiny_models.byte_level_tokenizer(specials, eos_token="<|endoftext|>")
    tokenizer.chat_template = tiny_models.CHAT_TEMPLATE
    form = chat_template_format(compile_template(tokenizer), "test")
    encoder = ExampleEncoder(tokenizer, "causal", form, ExampleLimits())
    dialogue = parse_record([["春", "眠"], ["夜<|im_end|>", "来<|im_end|>"]])
    pair = encoder.text_pair(dialogue, 1)
    assert pair is not None
    ((source, target),) = encoder.encode_pairs([pair])
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    # Twice in earlier rounds; special tokens spelled in a message are text.
    assert source.count(end) == 3 and target.index(end) == len(target) - 1
    assert tokenizer.decode(target[:-1]) == "来<|im_end|>"


def test_moss_ends_a_reply_with_eom(tmp_path: Path) -> None:
    tokenizer = tiny_models.byte_level_tokenizer(["<|endoftext|>", "<eom>"])
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(tmp_path)
    encoder = load_encoder(LocatedTokenizer(tmp_path, "moss", "moss"), ExampleLimits())
    pair = encoder.text_pair(parse_record([["春", "眠"]]), 0)
    assert pair is not None and pair.prompt.endswith("<|Human|>: 春<eoh>\n<|MOSS|>:")
    ((_, target),) = encoder.encode_pairs([pair])
    assert target[-1] == encoder.tokenizer.convert_tokens_to_ids("<eom>")


@pytest.mark.parametrize(
    ("family", "asked", "format", "columns"),
    [
        ("gpt2", None, "gpt2-chinese", 3),
        ("gpt2", "alpaca", "alpaca:article", 2),
        ("bloom", None, "bloomz", 3),
        ("llama", None, "alpaca:article", 2),
        ("llama", "causal", "bloomz", 3),
        ("", "alpaca", "alpaca:article", 2),
        ("", "causal", "bloomz", 3),
    ],
)
def test_family_and_format_of_a_model(
    tmp_path: Path, family: str, asked: Any, format: str, columns: int
) -> None:
    specials = ["<unk>", "<s>", "</s>"]
    tiny_models.byte_level_tokenizer(specials, eos_token="</s>").save_pretrained(tmp_path)
    encoder = load_encoder(LocatedTokenizer(tmp_path, family), ExampleLimits(), asked)
    assert encoder.format.name == format and len(encoder.layout.columns) == columns


def test_a_presets_format_applies_to_its_own_family(tmp_path: Path) -> None:
    specials = ["<unk>", "<s>", "</s>"]
    tiny_models.byte_level_tokenizer(specials, eos_token="</s>").save_pretrained(tmp_path)
    place = LocatedTokenizer(tmp_path, "bloom", "belle")
    formats = [
        load_encoder(place, ExampleLimits(), family, form).format.name
        for family, form in ((None, None), ("alpaca", None), ("alpaca", "luotuo"))
    ]
    assert formats == ["belle", "alpaca:article", "luotuo"]


@pytest.mark.parametrize("text", ["春眠不觉晓，", "hello world ", " " * 50, "\n"])
@pytest.mark.parametrize("family", ["alpaca", "causal"])
def test_only_the_beginning_of_a_long_history_is_encoded(
    monkeypatch: pytest.MonkeyPatch, bloom: Any, family: Any, text: str
) -> None:
    form = formats.get("alpaca:article" if family == "alpaca" else "bloomz")
    dialogue = parse_record([[f"{n}{text * 3}", f"{text}{n}"] for n in range(400)])
    encoder = ExampleEncoder(bloom, family, form, ExampleLimits(max_length=40))
    pairs = [encoder.text_pair(dialogue, place) for place in (0, 30, 398, 399)]
    kept = [pair for pair in pairs if pair]
    assert max(len(pair.prompt) for pair in kept) < 2000
    made = [encoder.layout.arrange(*ids) for ids in encoder.encode_pairs(kept)]
    encoder = ExampleEncoder(bloom, family, form, ExampleLimits(max_length=40))
    monkeypatch.setattr(encoder, "_max_characters", None)
    pairs = [encoder.text_pair(dialogue, place) for place in (0, 30, 398, 399)]
    assert made == [
        encoder.layout.arrange(*ids) for ids in encoder.encode_pairs([p for p in pairs if p])
    ]


def test_a_hundred_thousand_rounds_in_one_conversation(bloom: Any) -> None:
    dialogue = parse_record([["春", "眠"]] * 100_000)
    encoder = ExampleEncoder(bloom, "causal", formats.get("bloomz"), ExampleLimits())
    places = dialogue.trained_replies("all")
    assert len(places) == 100_000
    for place in places[::33_333]:
        pair = encoder.text_pair(dialogue, place)
        assert pair is not None and len(pair.prompt) <= 16 * (192 + 64)


# The layouts on ids alone


def test_the_layouts_on_ids() -> None:
    tokens = ChatGLMTokens(gmask=90, sop=91, eop=92, pad=0)
    made = chatglm_example([1, 2, 3], [4, 5, 6], tokens, 3, 4)
    assert made.input_ids == [1, 2, 90, 91, 4, 5, 92]
    assert made.labels == [-100, -100, -100, 91, 4, 5, 92]
    assert made.is_cut and made.attention_mask is None
    made = alpaca_example([1, 2], [3, 9], 0, 6)
    assert (made.input_ids, made.labels) == ([1, 2, 3, 9, 0, 0], [-100, -100, 3, 9, -100, -100])
    assert made.content == (0, 4) and not made.is_cut
    made = causal_example([1, 2], [3, 0], 0, 6)
    assert (made.input_ids, made.labels) == ([0, 0, 1, 2, 3, 0], [-100, -100, -100, -100, 3, 0])
    assert made.attention_mask == [0, 0, 1, 1, 1, 1] and made.content == (2, 6)
    made = causal_example([1, 2], [3, 0], 0, 3)
    assert (made.input_ids, made.labels) == ([1, 2, 3], [-100, -100, 3])
    assert made.attention_mask == [1, 1, 1] and made.is_cut


def transcribed_chatglm(a: list[int], b: list[int], max_source: int, max_target: int) -> Any:
    """The article's steps on ids; 90 to 92 and 0 are [gMASK], <sop>, <eop>, <pad>."""
    if len(a) > max_source - 1:
        a = a[: max_source - 1]
    if len(b) > max_target - 2:
        b = b[: max_target - 2]
    input_ids = [*a, 90, 91, *b, 92]
    context_length = input_ids.index(91)
    mask_position = context_length - 1
    labels = [-100] * context_length + input_ids[mask_position + 1 :]
    pad_len = max_source + max_target - len(input_ids)
    input_ids = input_ids + [0] * pad_len
    labels = labels + [0] * pad_len
    return input_ids, [label if label != 0 else -100 for label in labels]


def transcribed_alpaca(s: list[int], t: list[int], max_length: int) -> Any:
    input_ids = (s + t)[:max_length]
    labels = ([-100] * len(s) + t)[:max_length]
    return (
        input_ids + [0] * (max_length - len(input_ids)),
        labels + [-100] * (max_length - len(labels)),
    )


def transcribed_causal(sample: list[int], label: list[int], max_length: int) -> Any:
    whole = sample + label
    labels = [-100] * len(sample) + label
    mask = [1] * len(whole)
    missing = max_length - len(whole)
    return (
        ([0] * missing + whole)[:max_length],
        ([-100] * missing + labels)[:max_length],
        ([0] * missing + mask)[:max_length],
    )


def test_random_examples_equal_the_articles() -> None:
    """With prompts and replies from empty to longer than all limits, and special tokens in them."""
    dice = random.Random(5)
    tokens = ChatGLMTokens(gmask=90, sop=91, eop=92, pad=0)
    for _ in range(3000):
        source, target = (
            dice.choices([0, 5, 6, 7, 90, 91, 92], (1, 9, 9, 9, 1, 1, 1), k=dice.randrange(14))
            for _ in range(2)
        )
        limits = dice.randrange(1, 12), dice.randrange(2, 12)
        made = chatglm_example(source, target, tokens, *limits)
        assert (made.input_ids, made.labels) == transcribed_chatglm(source, target, *limits)
        assert len(made.input_ids) == len(made.labels) == sum(limits)
        assert made.is_cut == (len(source) > limits[0] - 1 or len(target) > limits[1] - 2)
        length = dice.randrange(1, 24)
        made = alpaca_example(source, [*target, 92], 0, length)
        assert (made.input_ids, made.labels) == transcribed_alpaca(source, [*target, 92], length)
        made = causal_example(source, [*target, 0], 0, length)
        expected = transcribed_causal(source, [*target, 0], length)
        assert (made.input_ids, made.labels, made.attention_mask) == expected
        assert made.is_cut == (len(source) + len(target) + 1 > length)
        begin, end = made.content
        assert made.attention_mask == [0] * begin + [1] * (end - begin)
