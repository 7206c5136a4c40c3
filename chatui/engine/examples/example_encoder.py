"""From dialogues to training examples, with the tokenizer and the prompt format of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeAlias

import msgspec

from chatui.conversation.dialogues import Dialogue
from chatui.engine.codec import added_tokens, adds_special_tokens, appends_eos, special_ids
from chatui.engine.examples.shared_prefix import encode_prefix_once
from chatui.engine.examples.training_example import (
    ChatGLMTokens,
    TrainingExample,
    alpaca_example,
    causal_example,
    chatglm_example,
)
from chatui.engine.tokenizers import template_eos_ids
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting import formats
from chatui.prompting.families import CHAT_TEMPLATE
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.parts import reply_for_history
from chatui.prompting.prompt_text import PromptText, TokenFinder, encode
from chatui.text import without_surrogates

Family: TypeAlias = Literal["chatglm", "alpaca", "causal"]

_MARGIN = 64
"""Tokens before a cut in a text that the cut may change."""

_ENOUGH = 16
"""Characters read for each token wanted; if they are too few, the text is read whole."""

IdPair: TypeAlias = tuple[list[int], list[int]]
"""Token ids of a prompt and of its reply."""

EncodeTexts: TypeAlias = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True)
class ExampleLimits:
    """Lengths in tokens.

    Attributes:
        max_source, max_target: ChatGLM's, of the prompt with [gMASK] and of the reply with <sop>
            and <eop>; an example has the length of both.
        max_length: of a whole example of the other families.
    """

    max_source: int = 64
    max_target: int = 64
    max_length: int = 192


class TextPair(msgspec.Struct, frozen=True):
    """A prompt, and the reply that is to be learned.

    Attributes:
        prompt, reply: the texts.
        whole: gives the whole prompt where ``prompt`` is the beginning of a very long one.
    """

    prompt: str
    reply: str
    whole: Callable[[], str] | None = None


@dataclass(frozen=True)
class ExampleLayout:
    """How one family encodes and lays out its examples.

    Attributes:
        columns: the names of the columns.
        length: of each example, in tokens.
        most_source: so many tokens of a prompt have room in it.
        encode_prompts, encode_replies: texts -> ids.
        arrange: (source, target) -> example.
        keeps_empty: whether an empty query or reply makes an example.
    """

    columns: tuple[str, ...]
    length: int
    most_source: int
    encode_prompts: EncodeTexts
    encode_replies: EncodeTexts
    arrange: Callable[[list[int], list[int]], TrainingExample]
    keeps_empty: bool = True


class ExampleEncoder:
    """Makes the examples of one file.

    Attributes:
        tokenizer: a transformers tokenizer.
        layout: the family's.
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
            system: for dialogues without a system text of their own.
            end: what ends a reply in causal examples; None for the chat template's token or the
                pad token.

        Raises:
            ChatuiError: the tokenizer lacks a special token that the family needs.
        """
        self.tokenizer = tokenizer
        self.format = format
        self.layout = _LAYOUTS[family](tokenizer, format, limits, end)
        self._system = system
        # The article numbers the rounds from the first on where a record has a history, if only
        # an empty one, and leaves a query without history bare.
        self._numbered = formats.get("shiyou") if format.name == "chatglm-6b" else format
        # So much of a prompt is enough to see its first tokens, in formats that only grow.
        only_grows = not format.literal and format.free_text is None
        self._enough = _ENOUGH * (self.layout.most_source + _MARGIN) if only_grows else None
        # What all prompts of a very long dialogue begin with, from a round on.
        self._shared: tuple[Dialogue | None, int, str] = (None, 0, "")

    def text_pair(self, dialogue: Dialogue, place: int) -> TextPair | None:
        """Prompt and reply of the round at ``place``; None if the family leaves it out."""
        query, reply = dialogue.rounds[place]
        if not self.layout.keeps_empty and not (query and reply):
            return None
        shared, first, beginning = self._shared
        if shared is not dialogue or place < first:
            history = _history(dialogue, place, self._enough)
            prompt = self._prompt_of(dialogue, place, history)
            if self._enough is None or len(prompt) <= self._enough:
                return TextPair(prompt, reply)
            beginning = prompt[: self._enough]
            if len(history) < place:
                self._shared = dialogue, len(history) + 1, beginning
        return TextPair(beginning, reply, partial(self._prompt_of, dialogue, place))

    def _prompt_of(
        self, dialogue: Dialogue, place: int, history: list[Exchange] | None = None
    ) -> str:
        """The prompt of a round; None for its whole history."""
        history = _history(dialogue, place) if history is None else history
        system = self._system if dialogue.system is None else dialogue.system
        begins_numbered = dialogue.has_history and not history
        render = (self._numbered if begins_numbered else self.format).render
        return render(history, dialogue.rounds[place][0], system)

    def encode_pairs(self, pairs: Sequence[TextPair]) -> list[IdPair]:
        """The token ids of prompts and replies, as yet uncut.

        Of a very long prompt there are some more than an example has room for.
        """
        # Rounds of a very long dialogue share one beginning.
        prompts = {id(pair.prompt): pair.prompt for pair in pairs}
        found = self.layout.encode_prompts([*prompts.values()])
        by_id = dict(zip(prompts, found, strict=True))
        sources = [by_id[id(pair.prompt)] for pair in pairs]
        for place, pair in enumerate(pairs):
            if pair.whole and len(sources[place]) < self.layout.most_source + _MARGIN:
                (sources[place],) = self.layout.encode_prompts([pair.whole()])
        targets = self.layout.encode_replies([pair.reply for pair in pairs])
        return list(zip(sources, targets, strict=True))

    def make_example(self, pair: IdPair) -> TrainingExample:
        """The example of one pair."""
        return self.layout.arrange(*pair)


def _history(dialogue: Dialogue, place: int, enough: int | None = None) -> list[Exchange]:
    """What a prompt repeats before a round: of the oldest ones, until they have ``enough`` text."""
    history: list[Exchange] = []
    characters = 0
    for asked, said in islice(dialogue.rounds, place):
        history.append((asked, reply_for_history(said) if "think>" in said else said))
        # Formats strip blanks.
        characters += len(asked.strip()) + len(history[-1][1].strip())
        if enough is not None and characters > enough:
            break
    return history


def _chatglm(
    tokenizer: Any, format: PromptFormat, limits: ExampleLimits, end: int | None
) -> ExampleLayout:
    if not hasattr(tokenizer, "gmask_token_id"):
        raise ChatuiError(say("dataset.no_chatglm"))
    tokens = ChatGLMTokens(
        gmask=tokenizer.gmask_token_id,
        sop=tokenizer.bos_token_id,
        eop=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
    )
    return ExampleLayout(
        columns=("input_ids", "labels"),
        length=limits.max_source + limits.max_target,
        most_source=limits.max_source,
        encode_prompts=tokenizer.encode_texts,
        encode_replies=tokenizer.encode_texts,
        arrange=lambda source, target: chatglm_example(
            source, target, tokens, limits.max_source, limits.max_target
        ),
        keeps_empty=False,
    )


def _alpaca(
    tokenizer: Any, format: PromptFormat, limits: ExampleLimits, end: int | None
) -> ExampleLayout:
    eos = tokenizer.eos_token
    # LLaMA came without a pad token, and its users took <unk>, which no text holds.
    pad = _first_of(tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id)
    if not eos:
        raise ChatuiError(say("dataset.no_eos"))
    encode_prompts, encode_replies = _encoders(tokenizer, format)
    return ExampleLayout(
        columns=("input_ids", "labels"),
        length=limits.max_length,
        most_source=limits.max_length,
        encode_prompts=encode_prompts,
        encode_replies=lambda texts: encode_replies([f"{text}{eos}" for text in texts]),
        arrange=lambda source, target: alpaca_example(source, target, pad, limits.max_length),
    )


def _causal(
    tokenizer: Any, format: PromptFormat, limits: ExampleLimits, end: int | None
) -> ExampleLayout:
    # GPT-2 came without a pad token; peft's examples take EOS.
    pad = _first_of(tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    if end is None and format.name == CHAT_TEMPLATE:
        # A template says itself how a reply ends.
        end = next(iter(template_eos_ids(tokenizer, special_ids(tokenizer))), None)
    last = pad if end is None else end
    encode_prompts, encode_replies = _encoders(tokenizer, format)
    return ExampleLayout(
        columns=("input_ids", "attention_mask", "labels"),
        length=limits.max_length,
        most_source=limits.max_length,
        encode_prompts=encode_prompts,
        encode_replies=lambda texts: [[*ids, last] for ids in encode_replies(texts)],
        arrange=lambda source, target: causal_example(source, target, pad, limits.max_length),
    )


_LAYOUTS = {"chatglm": _chatglm, "alpaca": _alpaca, "causal": _causal}


def _first_of(*ids: int | None) -> int:
    """The first id that there is, to pad with."""
    for id in ids:
        if id is not None:
            return id
    raise ChatuiError(say("dataset.no_padding"))


def _encoders(tokenizer: Any, format: PromptFormat) -> tuple[EncodeTexts, EncodeTexts]:
    """What encodes prompts, as the model reads them, and replies, which follow them."""
    has_first = adds_special_tokens(tokenizer, special_tokens=format.name != CHAT_TEMPLATE)
    drops_eos = has_first and appends_eos(tokenizer)
    tokens = [token for token in added_tokens(tokenizer) if not token.isspace()]
    finder = TokenFinder(tokens, any_width=True)

    def texts_of(texts: Sequence[str], special: bool) -> list[list[int]]:
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            # No tokenizer takes lone surrogates.
            texts = [without_surrogates(text) for text in texts]
        found = _encode_all(tokenizer, texts, special)
        return [ids[:-1] for ids in found] if special and drops_eos else found

    many = encode_prefix_once(texts_of, tokenizer, tokens)

    def alone(text: str, special: bool) -> list[int]:
        return encode(
            text, finder,
            lambda part: texts_of([part], special)[0], lambda part: texts_of([part], False)[0],
        )  # fmt: skip

    def prompts(texts: Sequence[str]) -> list[list[int]]:
        return _mixed(texts, has_first)

    def replies(texts: Sequence[str]) -> list[list[int]]:
        if format.literal:
            texts = [PromptText(text, ((0, len(text)),)) for text in texts]
        return _mixed(texts, False)

    def _mixed(texts: Sequence[str], special: bool) -> list[list[int]]:
        """All at once, but for texts with special tokens that are to be read as text."""
        found = many(texts, special)
        if not format.literal:
            return found
        for place, text in enumerate(texts):
            spans = getattr(text, "literal", ())
            if any(next(finder.find(text, *span), None) for span in spans):
                found[place] = alone(text, special)
        return found

    return prompts, replies


def _encode_all(tokenizer: Any, texts: Sequence[str], special: bool) -> list[list[int]]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [tokenizer.encode(text, add_special_tokens=special) for text in texts]
    backend.no_truncation()
    backend.no_padding()
    return [made.ids for made in backend.encode_batch_fast(texts, add_special_tokens=special)]
