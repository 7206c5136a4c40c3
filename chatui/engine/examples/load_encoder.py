"""The encoder of a model whose tokenizer is at hand."""

from __future__ import annotations

from typing import Any

from chatui.catalog.tokenizer_lookup import LocatedTokenizer
from chatui.engine.examples.example_encoder import ExampleEncoder, ExampleLimits, Family
from chatui.engine.tokenizers import EOS_TOKENS, format_named, load_tokenizer, own_format

_ARTICLE: dict[Family, str] = {
    "chatglm": "chatglm-6b",
    "alpaca": "alpaca:article",
    "causal": "bloomz",
}
"""The prompt formats that the article's examples have."""


def load_encoder(
    place: LocatedTokenizer,
    limits: ExampleLimits,
    family: Family | None = None,
    format: str | None = None,
) -> ExampleEncoder:
    """Read the tokenizer, and choose family and prompt format if they are not given.

    A model's own format is taken for its own family, the article's for another one.

    Raises:
        ChatuiError: the tokenizer cannot be read or does not fit the family, or there is no such
            format.
    """
    network = place.family or _guess(place, family)
    tokenizer = load_tokenizer(place.folder, network)
    own = own_format(network, tokenizer)
    natural = _family_of(network, own)
    family = family or natural
    name = format or (place.format or own if family == natural else _ARTICLE[family])
    end = _end_of(tokenizer, network, name) if family == natural else None
    made = format_named(name, tokenizer)
    return ExampleEncoder(tokenizer, family, made, limits, place.system, end)


def _end_of(tokenizer: Any, network: str, format: str) -> int | None:
    """MOSS's <eom> and the embedded model's [SEP]; None for others, which learn the pad token."""
    if format == "shiyou":
        return int(tokenizer.sep_token_id)
    if network != "moss":
        return None
    vocabulary = tokenizer.get_vocab()
    return next((vocabulary[token] for token in EOS_TOKENS[network] if token in vocabulary), None)


def _family_of(network: str, format: str) -> Family:
    if network == "chatglm":
        return "chatglm"
    return "alpaca" if format == _ARTICLE["alpaca"] else "causal"


def _guess(place: LocatedTokenizer, family: Family | None) -> str:
    """The network's family where a folder holds a tokenizer alone."""
    if family == "chatglm":
        return "chatglm"
    if family == "alpaca" or (place.folder / "tokenizer.model").is_file():
        return "llama"
    return "gpt2" if (place.folder / "vocab.txt").is_file() else "bloom"
