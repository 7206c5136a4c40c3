"""Make training examples of dialogues, with a model's tokenizer and prompt format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

import msgspec

from chatui.catalog.resolving import LocatedTokenizer
from chatui.conversation.dialogues import Dialogue, PreferencePair
from chatui.engine.examples.example_layout import ExampleLimits, Family, make_layout
from chatui.engine.examples.training_example import IGNORED
from chatui.engine.tokenizers import EOS_TOKENS, default_format_name, load_format, load_tokenizer
from chatui.prompting import formats
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.parts import reply_for_history

_MARGIN = 64
"""Tokens before the end of a truncated text that the truncation may have changed."""

_CHARACTERS_PER_TOKEN = 16
"""Characters of a long prompt to encode per token needed, before it is encoded completely."""

_ARTICLE_FORMATS: dict[Family, str] = {
    "chatglm": "chatglm-6b",
    "alpaca": "alpaca:article",
    "causal": "bloomz",
}
"""Prompt formats of the article's examples, by family."""

IdPair: TypeAlias = tuple[list[int], list[int]]
"""Token ids of a prompt and of its reply."""


class TextPair(msgspec.Struct, frozen=True):
    """A prompt, and the reply to learn.

    Attributes:
        prompt, reply: the texts.
        whole_prompt: returns the whole prompt, if ``prompt`` is the beginning of a very long one.
    """

    prompt: str
    reply: str
    whole_prompt: Callable[[], str] | None = None


class ExampleEncoder:
    """An encoder of dialogues with one tokenizer, family and prompt format.

    Attributes:
        tokenizer: a transformers tokenizer.
        layout: the family's layout.
        format: the prompt format.
    """

    def __init__(
        self,
        tokenizer: Any,
        family: Family,
        format: PromptFormat,
        limits: ExampleLimits,
        system: str | None = None,
        end: int | None = None,
    ) -> None:
        """Choose the layout.

        Args:
            system: system prompt of dialogues that have none.
            end: token that ends a reply in causal examples; None for the chat template's or the
                pad token.

        Raises:
            ChatuiError: the tokenizer lacks a special token that the family needs.
        """
        self.tokenizer = tokenizer
        self.format = format
        self.layout = make_layout(family, tokenizer, format, limits, end)
        self._system = system
        # The article numbers the rounds of records with a history, even an empty one, and leaves a
        # query without history bare.
        self._numbered = formats.get("shiyou") if format.name == "chatglm-6b" else format
        # If a format only appends, the beginning of a prompt determines its first tokens.
        appends_only = not format.literal and format.free_text is None
        limit = _CHARACTERS_PER_TOKEN * (self.layout.max_source + _MARGIN)
        self._max_characters = limit if appends_only else None
        # The beginning shared by all prompts of a very long dialogue, from a round on.
        self._shared: tuple[Dialogue | None, int, str] = (None, 0, "")

    def text_pair(self, dialogue: Dialogue, index: int) -> TextPair | None:
        """Return the prompt and reply of a round; None if the family leaves the round out."""
        query, reply = dialogue.rounds[index]
        if not self.layout.keeps_empty and not (query and reply):
            return None
        shared, first, beginning = self._shared
        if shared is not dialogue or index < first:
            history = _history(dialogue, index, self._max_characters)
            prompt = self._prompt(dialogue, index, history)
            if self._max_characters is None or len(prompt) <= self._max_characters:
                return TextPair(prompt, reply)
            beginning = prompt[: self._max_characters]
            if len(history) < index:
                self._shared = dialogue, len(history) + 1, beginning
        return TextPair(beginning, reply, partial(self._prompt, dialogue, index))

    def _prompt(self, dialogue: Dialogue, index: int, history: list[Exchange] | None = None) -> str:
        """Return the prompt of a round, by default with its whole history."""
        history = _history(dialogue, index) if history is None else history
        system = self._system if dialogue.system is None else dialogue.system
        begins_numbered = dialogue.has_history and not history
        render = (self._numbered if begins_numbered else self.format).render
        return render(history, dialogue.rounds[index][0], system)

    def encode_pairs(self, pairs: Sequence[TextPair]) -> list[IdPair]:
        """Return the token ids of prompts and replies, not yet truncated.

        Of a very long prompt, only the beginning that an example needs is encoded.
        """
        # Rounds of a very long dialogue share the same prompt object, which is encoded once.
        prompts = {id(pair.prompt): pair.prompt for pair in pairs}
        encoded = self.layout.encode_prompts([*prompts.values()])
        by_id = dict(zip(prompts, encoded, strict=True))
        sources = [by_id[id(pair.prompt)] for pair in pairs]
        for index, pair in enumerate(pairs):
            if pair.whole_prompt and len(sources[index]) < self.layout.max_source + _MARGIN:
                (sources[index],) = self.layout.encode_prompts([pair.whole_prompt()])
        targets = self.layout.encode_replies([pair.reply for pair in pairs])
        return list(zip(sources, targets, strict=True))

    def preference_ids(self, pair: PreferencePair) -> dict[str, list[int]] | None:
        """Return the columns that TRL's DPO trainer makes of a pair, without padding.

        The prompt is the part of an example with ignored labels. ChatGLM-6B's <sop> is therefore
        the first token of both replies.

        Returns:
            "prompt_input_ids", "chosen_input_ids" and "rejected_input_ids"; None if the family
            leaves the pair out, or a truncated reply has nothing to learn.
        """
        chosen = self.text_pair(pair.dialogue, len(pair.dialogue.rounds) - 1)
        if chosen is None:
            return None
        columns: dict[str, list[int]] = {}
        both = [chosen, msgspec.structs.replace(chosen, reply=pair.rejected)]
        for name, ids in zip(("chosen", "rejected"), self.encode_pairs(both), strict=True):
            example = self.layout.arrange(*ids)
            begin, end = example.content
            labels = example.labels[begin:end]
            learned = next((at for at, label in enumerate(labels) if label != IGNORED), None)
            if learned is None:
                return None
            columns["prompt_input_ids"] = example.input_ids[begin : begin + learned]
            columns[f"{name}_input_ids"] = example.input_ids[begin + learned : end]
        return columns


def _history(dialogue: Dialogue, index: int, max_characters: int | None = None) -> list[Exchange]:
    """Return the rounds before a round, from the oldest until ``max_characters`` are exceeded."""
    history: list[Exchange] = []
    characters = 0
    for query, reply in islice(dialogue.rounds, index):
        history.append((query, reply_for_history(reply) if "think>" in reply else reply))
        # Formats strip white space.
        characters += len(query.strip()) + len(history[-1][1].strip())
        if max_characters is not None and characters > max_characters:
            break
    return history


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
