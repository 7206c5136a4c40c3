"""An index of the training poems by form, word and first character."""

from collections import defaultdict
from collections.abc import Container, Iterable
from random import Random

from .corpus import Poem, is_held_out
from .forms import FORMS, Form
from .wording import THEMES

_LITURGY = (
    "偈颂",
    "颂古",
    "证道",
    "金刚",
    "缘识",
    "集句",
    "诗三百",
    "诗一首",
    "帖子",
    "郊庙",
    "歌辞",
)
"""Title words of series and hymns, whose poems have no relation to the title."""


def words_of(line: str) -> list[str]:
    """Split a verse line into its two-character words: 床前 明月."""
    return [line[i : i + 2] for i in range(0, len(line) - 1, 2)]


class Library:
    """Poems by form, by word, and verse lines by first character."""

    def __init__(self, poems: Iterable[Poem], characters: Container[str]) -> None:
        """Index the poems whose characters are all in ``characters``, the vocabulary."""
        self.by_form: dict[Form, list[Poem]] = {form: [] for form in FORMS}
        self.by_word: dict[str, dict[Form, list[Poem]]] = defaultdict(lambda: defaultdict(list))
        self.lines_by_head: dict[tuple[int, str], list[str]] = defaultdict(list)
        for poem in poems:
            if not all(char in characters for char in poem.title + "".join(poem.lines)):
                continue
            self.by_form[poem.form].append(poem)
            for line in poem.lines:
                self.lines_by_head[len(line), line[0]].append(line)
            title = "" if any(word in poem.title for word in _LITURGY) else poem.title
            words = {title, *title, *(title[i : i + 2] for i in range(len(title) - 1))}
            for word in words.union(*map(words_of, poem.lines)) - {""}:
                self.by_word[word][poem.form].append(poem)

    def any_poem(self, random: Random, form: Form) -> Poem:
        return random.choice(self.by_form[form])

    def poem_on(self, random: Random, title: str, form: Form, used: Container[Poem] = ()) -> Poem:
        """Return a poem in ``form`` that matches ``title`` best and is not in ``used``."""
        pairs = [title[i : i + 2] for i in range(len(title) - 1)]
        keys = [title, *THEMES.get(title, "").split(), *random.sample(pairs, len(pairs))]
        for key in [*keys, *random.sample(title, len(title))]:
            found = self.by_word[key][form] if key in self.by_word else []
            for _ in range(3 if found else 0):
                poem = random.choice(found)
                if poem not in used:
                    return poem
        return self.any_poem(random, form)

    def own_title(self, random: Random, poem: Poem) -> str:
        """Return a title for a poem: its own if short, else a word from its text."""
        long = len(poem.title) > 4 and random.random() < 0.15 * (len(poem.title) - 4)
        if poem.title and not long and not any(word in poem.title for word in _LITURGY):
            return poem.title
        return self.word_from(random, poem)

    def word_from(self, random: Random, poem: Poem) -> str:
        """Return two to four characters of the poem that are not a held-out title."""
        while True:
            word = "".join(words_of(random.choice(poem.lines))[: random.choice((1, 1, 2))])
            if random.random() < 0.5:
                word = random.choice(words_of(random.choice(poem.lines)))
            if not is_held_out(word):
                return word

    def line_with_head(self, random: Random, head: str, n_chars: int) -> str:
        """Return a verse line of ``n_chars`` characters that starts with ``head``."""
        lines = self.lines_by_head.get((n_chars, head), [])
        if len(lines) >= 3 and random.random() < 0.9:
            return random.choice(lines)
        poem = self.any_poem(random, Form(n_chars, 4))
        return head + random.choice(poem.lines)[1:]
