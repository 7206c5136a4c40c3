"""Encode dialogues as token ids, targets and weights, in batches of similar length."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from .corpus import load, split
from .dialogues import Round, Writer, frame
from .library import Library
from .vocabulary import PAD, SEP

CONTEXT = 512
IGNORED = -100
"""Target of tokens that are not trained on: the frame and the query."""

BINDING = 4.0
"""Weight in the loss of tokens determined by form, title or given text."""

Example = tuple[list[int], list[int], list[float]]
"""Token ids, and for each its target (the next token or ``IGNORED``) and weight."""


def weights(reply: str, said: str) -> list[float]:
    """Return the weight of each character of a reply and of its end, after the queries ``said``.

    Title, punctuation, line breaks, text repeated from a query, the first character of a line in
    untitled verse, and the end are determined and weigh ``BINDING``; otherwise the many free
    choices would dominate the loss.
    """
    given = 0
    while given < len(reply) and reply[: given + 1] in said:
        given += 1
    title = reply.find("》") if reply.startswith("《") else -1
    binding = [
        i <= max(given - 1, title)
        or char in "，。\n《》"
        or (title < 0 and (i == 0 or reply[i - 1] in "，\n"))
        for i, char in enumerate(reply)
    ]
    return [BINDING if bound else 1.0 for bound in (*binding, True)]


Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Ids and targets (int64), weights (float32)."""


def padded(length: int) -> int:
    """Round a length up to a multiple of 16, the width of a batch."""
    return -(-length // 16) * 16


class Encoder:
    """Encodes examples with the tokenizer of the embedded model."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        numbers: dict[str, int] = self.tokenizer.get_vocab()
        self.end, self.pad = numbers[SEP], numbers[PAD]
        self.characters = "".join(
            sorted(token for token in numbers if "\u3400" <= token <= "\u9fff")
        )

    def ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def plain(self, text: str) -> Example:
        """Return an example that trains on the whole text and its end."""
        ids = self.ids(text)[:CONTEXT]
        return ids, [*ids[1:], self.end], [1.0] * len(ids)

    def dialogue(self, rounds: list[Round], first_number: int = 0) -> Example:
        """Return an example that trains on each reply and its end.

        As in the prompt of the next round, a line break and no [SEP] follows a reply.
        """
        ids: list[int] = []
        targets: list[int] = []
        weighed: list[float] = []
        said = ""
        for number, (query, reply) in enumerate(rounds, first_number):
            head = self.ids(("\n" if ids else "") + frame(number, query))
            body = self.ids(reply)
            if ids and len(ids) + len(head) + len(body) > CONTEXT:
                break
            ids += head + body
            targets += [IGNORED] * (len(head) - 1) + body + [self.end]
            said += query + "\n"
            places = weights(reply, said) if len(body) == len(reply) else [1.0] * (len(body) + 1)
            weighed += [0.0] * (len(head) - 1) + places
        return ids[:CONTEXT], targets[:CONTEXT], weighed[:CONTEXT]


def training_library(encoder: Encoder) -> Library:
    training, _ = split(load())
    return Library(training, encoder.tokenizer.get_vocab())


class Batches:
    """Infinite batches, reproducible by ``seed``."""

    def __init__(self, encoder: Encoder, library: Library, seed: int, tokens: int) -> None:
        """``tokens`` is the maximum number of ids in a batch, including padding."""
        self.encoder, self.tokens, self.random = encoder, tokens, Random(seed)
        self.writer = Writer(library, encoder.characters, self.random)

    def example(self) -> Example:
        if self.random.random() < 0.2:
            return self.encoder.plain(self.writer.plain())
        first = self.random.randint(1, 20) if self.random.random() < 0.08 else 0
        return self.encoder.dialogue(self.writer.dialogue(), first)

    def __iter__(self) -> Iterator[Batch]:
        """Yield (ids, targets, weights) of shape (examples, length), padded on the right."""
        while True:
            pool = sorted((self.example() for _ in range(1024)), key=lambda one: len(one[0]))
            groups: list[list[Example]] = [[]]
            for one in pool:
                if (len(groups[-1]) + 1) * padded(len(one[0])) > self.tokens:
                    groups.append([])
                groups[-1].append(one)
            self.random.shuffle(groups)
            yield from map(self.batch, groups)

    def batch(self, examples: list[Example]) -> Batch:
        width = padded(max(len(ids) for ids, _, _ in examples))
        ids = torch.full((len(examples), width), self.encoder.pad)
        targets = torch.full((len(examples), width), IGNORED)
        weighed = torch.zeros(len(examples), width)
        for row, (tokens, wanted, places) in enumerate(examples):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            targets[row, : len(wanted)] = torch.tensor(wanted)
            weighed[row, : len(places)] = torch.tensor(places)
        return ids, targets, weighed
