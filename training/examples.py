"""From dialogues to token ids and targets, in batches of similar length."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from .corpus import load, split
from .dialogues import Round, Writer, frame
from .library import Library
from .vocabulary import PAD, SEP, common_characters

CONTEXT = 512
IGNORED = -100
"""The target where nothing is to be learnt: the frame and the query."""

Example = tuple[list[int], list[int]]
"""Token ids and the target of each: the next token, or ``IGNORED``."""


def padded(length: int) -> int:
    """The width of a batch whose longest example has ``length`` ids: a multiple of 16."""
    return -(-length // 16) * 16


class Encoder:
    """Encodes with the tokenizer files of the embedded model."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.end = self.tokenizer.token_to_id(SEP)
        self.pad = self.tokenizer.token_to_id(PAD)

    def ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def plain(self, text: str) -> Example:
        """All of the text is learnt, and that it ends."""
        ids = self.ids(text)[:CONTEXT]
        return ids, [*ids[1:], self.end]

    def dialogue(self, rounds: list[Round], first_number: int = 0) -> Example:
        """Each reply is learnt, and after its last character the end.

        The ids go on as the prompt of the next round has them, with a line break and no [SEP].
        """
        ids: list[int] = []
        targets: list[int] = []
        for number, (query, reply) in enumerate(rounds, first_number):
            head = self.ids(("\n" if ids else "") + frame(number, query))
            body = self.ids(reply)
            if ids and len(ids) + len(head) + len(body) > CONTEXT:
                break
            ids += head + body
            targets += [IGNORED] * (len(head) - 1) + body + [self.end]
        return ids[:CONTEXT], targets[:CONTEXT]


def training_library(encoder: Encoder) -> Library:
    training, _ = split(load())
    return Library(training, encoder.tokenizer.get_vocab())


class Batches:
    """Endless batches; the same ``seed`` gives the same ones."""

    def __init__(self, encoder: Encoder, library: Library, seed: int, tokens: int) -> None:
        """``tokens``: the most ids, padding counted, in one batch."""
        self.encoder, self.tokens, self.random = encoder, tokens, Random(seed)
        self.writer = Writer(library, "".join(common_characters()), self.random)

    def example(self) -> Example:
        if self.random.random() < 0.3:
            return self.encoder.plain(self.writer.plain())
        first = self.random.randint(1, 20) if self.random.random() < 0.08 else 0
        return self.encoder.dialogue(self.writer.dialogue(), first)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(ids, targets), each int64 of shape (examples, length), padded at the right."""
        while True:
            pool = sorted((self.example() for _ in range(1024)), key=lambda pair: len(pair[0]))
            groups: list[list[Example]] = [[]]
            for pair in pool:
                if (len(groups[-1]) + 1) * padded(len(pair[0])) > self.tokens:
                    groups.append([])
                groups[-1].append(pair)
            self.random.shuffle(groups)
            yield from map(self.batch, groups)

    def batch(self, examples: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        width = padded(max(len(ids) for ids, _ in examples))
        ids = torch.full((len(examples), width), self.encoder.pad)
        targets = torch.full((len(examples), width), IGNORED)
        for row, (tokens, wanted) in enumerate(examples):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            targets[row, : len(wanted)] = torch.tensor(wanted)
        return ids, targets
