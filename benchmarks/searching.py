"""Duration of ``chatui search`` over many rounds, for one to four characters and pinyin.

    python benchmarks/searching.py [--rounds 100000] [--file FILE] [--runs 5]

Rounds have 300 characters: sentences and random words of this repository's Chinese pages, and
random hanzi. Each query is searched as in the app (first hit of each conversation) and as on the
command line, up to 100 hits, in milliseconds of processor time. ``--file`` keeps the store for the
next run.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import tempfile
import time
from pathlib import Path

from chatui.conversation.rounds import Conversation, Round, Transcript
from chatui.conversation.store import Store

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.zh-CN.md", ROOT / "assets/shiyou/vocab.txt")
ROUNDS_EACH = 20
TEXTS = (
    *("的", "龘", "模", "a", "q", "%"),
    *("模型", "龘靐", "春风", "th", "qz", "北京"),
    *("模型的", "春风吹", "lora", "QZXK", "的模型在", "床前明月"),
    *("bj", "oe", "beijing", "nve", "zgrm", "beijingdaxue", "xian", "lili", "shishi", "龍鳳"),
)
"""Common and rare queries of one to four characters, and pinyin."""


def texts(seed: int = 7) -> tuple[list[str], list[str], str]:
    """Return sentences and words of the pages, and all common hanzi."""
    page = "\n".join(file.read_text(encoding="utf-8") for file in PAGES)
    sentences = [each for each in re.split(r"[。\n]", page) if 5 < len(each) < 80]
    words = re.findall("[一-鿿]{2,6}", page)
    return sentences, words, "".join(chr(code) for code in range(0x4E00, 0x9FA6))


def reply(random_: random.Random, sentences: list[str], words: list[str], hanzi: str) -> str:
    """Return a text of 300 characters."""
    parts, length = [], 0
    while length < 300:
        kind = random_.random()
        if kind < 0.5:
            part = random_.choice(sentences)
        elif kind < 0.8:
            part = "".join(random_.choices(words, k=6))
        else:
            part = "".join(random_.choices(hanzi, k=20))
        parts.append(part + "。")
        length += len(part) + 1
    return "".join(parts)[:300]


def fill(store: Store, rounds: int) -> float:
    """Add conversations of ``ROUNDS_EACH`` rounds; return the processor seconds."""
    random_, source = random.Random(7), texts()
    spent = 0.0
    for first in range(0, rounds, ROUNDS_EACH * 50):
        wholes = []
        for start in range(first, min(rounds, first + ROUNDS_EACH * 50), ROUNDS_EACH):
            chain = []
            for number in range(1, ROUNDS_EACH + 1):
                said = reply(random_, *source)
                chain.append(
                    Round(number, 0, number - 1 or None, said[:20], said[20:], "done", "shiyou")
                )
            at = 1_700_000_000.0 + start
            about = Conversation(0, chain[0].query, at, at, ROUNDS_EACH, ROUNDS_EACH)
            wholes.append(Transcript(about, tuple(chain)))
        began = time.process_time()
        store.add_conversations(wholes)
        spent += time.process_time() - began
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = args.file or Path(folder) / "conversations.db"
        is_new = not file.exists()
        store = Store(file)
        if is_new:
            spent = fill(store, args.rounds)
            print(f"filled with {args.rounds} rounds: {args.rounds / spent:.0f} a second")
        began = time.process_time()
        store.search("北京")
        print(f"the first search: {(time.process_time() - began) * 1000:.0f} ms")
        longest = []
        for text in TEXTS:
            medians = []
            for search in (
                lambda text=text: store.search_conversations(text, 100),
                lambda text=text: store.search(text),
            ):
                took = []
                for _ in range(args.runs):
                    began = time.process_time()
                    found = len(search())
                    took.append(time.process_time() - began)
                medians.append(statistics.median(took) * 1000)
            longest.append((max(medians), text))
            print(f"{text:　<8} {medians[0]:7.1f} ms   {medians[1]:7.1f} ms   {found} hits")
        print(f"the longest: {max(longest)[0]:.0f} ms, {max(longest)[1]}")
        store.close()


if __name__ == "__main__":
    main()
