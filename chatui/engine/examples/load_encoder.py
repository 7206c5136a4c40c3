"""Load the example encoder of a model from its tokenizer."""

from __future__ import annotations

from typing import Any

from chatui.catalog.resolving import LocatedTokenizer
from chatui.engine.examples.example_encoder import ExampleEncoder
from chatui.engine.examples.example_layout import ExampleLimits, Family
from chatui.engine.tokenizers import EOS_TOKENS, default_format_name, load_format, load_tokenizer

_ARTICLE_FORMATS: dict[Family, str] = {
    "chatglm": "chatglm-6b",
    "alpaca": "alpaca:article",
    "causal": "bloomz",
}
"""Prompt formats of the article's examples, by family."""


def load_encoder(
    place: LocatedTokenizer,
    limits: ExampleLimits,
    family: Family | None = None,
    format: str | None = None,
) -> ExampleEncoder:
    """Load the tokenizer, and choose the family and the prompt format if they are not given.

    By default the family is the model's. The format is the model's own for its own family, and the
    article's for another family.

    Raises:
        ChatuiError: the tokenizer cannot be read or does not fit the family, or the format is
            unknown.
    """
    network = place.family or _guess_network(place, family)
    tokenizer = load_tokenizer(place.folder, network)
    own_format = default_format_name(network, tokenizer)
    default_family = _family_of(network, own_format)
    family = family or default_family
    default = place.format or own_format if family == default_family else _ARTICLE_FORMATS[family]
    name = format or default
    end = _end_token(tokenizer, network, name) if family == default_family else None
    prompt_format = load_format(name, tokenizer)
    return ExampleEncoder(tokenizer, family, prompt_format, limits, place.system, end)


def _end_token(tokenizer: Any, network: str, format: str) -> int | None:
    """Return MOSS's <eom> or the embedded model's [SEP]; None for all others."""
    if format == "shiyou":
        return int(tokenizer.sep_token_id)
    if network != "moss":
        return None
    vocabulary = tokenizer.get_vocab()
    return next((vocabulary[token] for token in EOS_TOKENS[network] if token in vocabulary), None)


def _family_of(network: str, format: str) -> Family:
    if network == "chatglm":
        return "chatglm"
    return "alpaca" if format == _ARTICLE_FORMATS["alpaca"] else "causal"


def _guess_network(place: LocatedTokenizer, family: Family | None) -> str:
    """Guess the network's family for a folder with only a tokenizer."""
    if family == "chatglm":
        return "chatglm"
    if family == "alpaca" or (place.folder / "tokenizer.model").is_file():
        return "llama"
    return "gpt2" if (place.folder / "vocab.txt").is_file() else "bloom"
