"""Extract regular poems in simplified characters from the fetched package.

``python -m training.corpus`` writes training/data/poems.jsonl, which all other modules read.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from .forms import Form, form_of
from .paths import PACKAGE, POEMS

HELD_OUT_PERCENT = 2
"""Share of titles and of first lines that are excluded from training."""

_VERSE = re.compile(r"([\u3400-\u9fff\u3007]+)[，。？！；：、]")
_NUMBERING = re.compile(
    r"(其[一二三四五六七八九十百]+|[二三四五六七八九十百]+首|[一二三四五六七八九十百]+)$"
)


@dataclass(frozen=True)
class Poem:
    """A poem in a regular form; ``lines`` are its verse lines without punctuation."""

    title: str
    lines: tuple[str, ...]

    @property
    def form(self) -> Form:
        form = form_of(list(self.lines))
        assert form is not None
        return form


def is_held_out(text: str) -> bool:
    """True if a title or a first line belongs to the evaluation, depending only on its hash."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


def clean_title(title: str) -> str:
    """Return the title without part numbers (其一, 二首 …), notes and spaces."""
    title = re.split(r"[ （(〈\[]", title.strip())[0]
    while (shorter := _NUMBERING.sub("", title)) != title and len(shorter) >= 2:
        title = shorter
    return title


def parse(record: dict[str, object]) -> Poem | None:
    """Return the poem of a record of the package, or None if it is not regular."""
    title = clean_title(str(record["title"]))
    paragraphs = record["paragraphs"]
    assert isinstance(paragraphs, list)
    text = "".join(paragraphs)
    lines = tuple(_VERSE.findall(text))
    if sum(map(len, lines)) + len(lines) != len(text) or form_of(list(lines)) is None:
        return None
    if not 2 <= len(title) <= 12 or not re.fullmatch(r"[\u3400-\u9fff\u3007]+", title):
        title = ""
    return Poem(title, lines)


def split(poems: Iterable[Poem]) -> tuple[list[Poem], list[Poem]]:
    """Return (training, held out); no held-out title or first line occurs in training."""
    training: list[Poem] = []
    held_out: list[Poem] = []
    for poem in poems:
        out = is_held_out(poem.title) or is_held_out(poem.lines[0])
        (held_out if out else training).append(poem)
    first_lines = {poem.lines[0] for poem in held_out if is_held_out(poem.lines[0])}
    training = [poem for poem in training if first_lines.isdisjoint(poem.lines)]
    return training, held_out


def load() -> list[Poem]:
    """Return all prepared poems, in the order of the corpus."""
    with POEMS.open(encoding="utf-8") as file:
        return [Poem(title, tuple(lines)) for title, lines in map(json.loads, file)]


def main() -> int:
    """Write the regular poems of the package in simplified characters, without duplicates."""
    from opencc import OpenCC
    from tqdm import tqdm

    files = sorted((PACKAGE / "dist" / "quantangshi").glob("poet.*.json"))
    if not files:
        print("There is no corpus yet; run python -m training.fetch_corpus.", file=sys.stderr)
        return 1
    convert = OpenCC("t2s").convert
    seen: set[tuple[str, ...]] = set()
    read = 0
    with POEMS.open("w", encoding="utf-8") as out:
        for path in tqdm(files, desc="corpus", unit="file"):
            for record in json.loads(convert(path.read_text(encoding="utf-8"))):
                read += 1
                poem = parse(record)
                if poem is not None and poem.lines not in seen:
                    seen.add(poem.lines)
                    out.write(json.dumps([poem.title, poem.lines], ensure_ascii=False) + "\n")
    print(f"{len(seen)} regular poems of {read} in {POEMS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
