"""Training dialogues, synthesised from the poems.

A dialogue is a list of (query, reply). ``Topic`` holds the state that follow-ups refer to.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from . import small_talk, wording
from .corpus import Poem, is_held_out
from .forms import FORMS, Form, couplets
from .library import Library

Round = tuple[str, str]
MAX_ROUNDS = 8


@dataclass(frozen=True)
class Topic:
    """The subject of a dialogue, which follow-ups refer to.

    Attributes:
        kind: "poem", "continuation" or "acrostic".
        title: title of the poem; "" for the other kinds.
        form: form of the reply.
        given: the given line or couplet of a continuation, or the characters of an acrostic.
        used: poems already shown.
    """

    kind: str
    title: str
    form: Form
    given: str = ""
    used: tuple[Poem, ...] = ()


def frame(number: int, query: str) -> str:
    """Return a round as in the prompt, up to the start of the reply."""
    return f"[Round {number}]\n问：{query}\n答："


class Writer:
    """Writes dialogues from the poems of a library, with ``random`` for all choices."""

    def __init__(self, library: Library, characters: str, random: Random) -> None:
        """``characters`` are used for random titles and acrostics."""
        self.library = library
        self.characters = characters
        self.random = random

    def dialogue(self) -> list[Round]:
        """Return a dialogue of one to eight rounds, mostly one to four."""
        n_rounds = self.random.choices(range(1, MAX_ROUNDS + 1), (28, 26, 20, 14, 5, 3, 2, 2))[0]
        rounds: list[Round] = []
        topic: Topic | None = None
        for _ in range(n_rounds):
            if topic is not None and self.random.random() < 0.62:
                query, reply, topic = self.follow_up(topic)
            else:
                query, reply, topic = self.request(topic)
            rounds.append((query, reply))
        return rounds

    def plain(self) -> str:
        """Return one to three poems as in a book, with or without a title line."""
        texts = []
        for _ in range(self.random.choice((1, 1, 2, 3))):
            poem = self.library.any_poem(self.random, self.random.choice(FORMS))
            titled = poem.title and self.random.random() < 0.4
            texts.append((f"《{poem.title}》\n" if titled else "") + couplets(poem.lines))
        return "\n\n".join(texts)

    def request(self, topic: Topic | None) -> tuple[str, str, Topic | None]:
        """Return a round with a new request; small talk keeps the topic."""
        ask: Callable[[], tuple[str, str, Topic]] = self.random.choices(
            (self.poem, self.continuation, self.acrostic), (44, 22, 34)
        )[0]
        return self.talk(topic) if self.random.random() < 0.15 else ask()

    def poem(self) -> tuple[str, str, Topic]:
        pick = self.random.choice
        form = pick(FORMS)
        title, poem = self.new_title(form)
        shape = self.random.random()
        if shape < 0.6:
            query = self.title_in(pick(wording.TITLE_AND_FORM), title, self.form_name(form))
        elif shape < 0.88:
            query = self.title_in(pick(wording.TITLE), title)
        elif shape < 0.95:
            title = self.library.own_title(self.random, poem)
            query = pick(wording.FORM).format(f=self.form_name(form))
        else:
            title = self.library.own_title(self.random, poem)
            query = pick(wording.ANY)
        return self.ended(query), *self.titled(Topic("poem", title, form), poem)

    def title_in(self, template: str, title: str, form: str = "") -> str:
        """Fill a template; titles that could be read as a verse line get brackets."""
        if template == "{t}" and len(title) in (5, 7):
            template = "《{t}》"
        return template.format(t=title, f=form)

    def new_title(self, form: Form) -> tuple[str, Poem]:
        """Return a title that is not held out, and a poem in ``form`` for it."""
        while True:
            poem = self.library.any_poem(self.random, form)
            source = self.random.random()
            if source < 0.42:
                title = self.library.own_title(self.random, poem)
            elif source < 0.6:
                title = self.library.word_from(self.random, poem)
            elif source < 0.8:
                title = self.random.choice(list(wording.THEMES))
                poem = self.library.poem_on(self.random, title, form)
            else:
                title = self.random_characters(self.random.randint(2, 5))
            if not is_held_out(title):
                return title, poem

    def random_characters(self, n: int) -> str:
        return "".join(self.random.choices(self.characters, k=n))

    def form_name(self, form: Form) -> str:
        """Return a name of the form, or sometimes of only its length or kind."""
        names = [form.name, form.name, form.short_name, form.short_name]
        return self.random.choice([*names, *names, form.kind_name, form.length_name + "诗"])

    def titled(self, topic: Topic, poem: Poem | None = None) -> tuple[str, Topic]:
        """Return a reply with a poem under the topic's title, and the topic with it as used."""
        if poem is None:
            poem = self.library.poem_on(self.random, topic.title, topic.form, topic.used)
        reply = f"《{topic.title}》\n{couplets(poem.lines)}"
        return reply, replace(topic, used=(*topic.used, poem))

    def continuation(self) -> tuple[str, str, Topic]:
        form = self.random.choice(FORMS)
        poem = self.library.any_poem(self.random, form)
        n_given = self.random.choice((1, 1, 1, 2, 2))
        if self.random.random() < 0.3:
            poem = self.with_rare(poem, n_given)
        given = "，".join(poem.lines[:n_given])
        shown = given + self.random.choice(("", "", "，") if n_given == 1 else ("", "。", "。"))
        if self.random.random() < 0.7:
            query = self.random.choice(wording.CONTINUE).format(g=shown)
        else:
            template = self.random.choice(wording.CONTINUE_FORM)
            query = template.format(g=shown, f=self.random.choice((form.name, form.short_name)))
        return query, couplets(poem.lines), Topic("continuation", "", form, given, (poem,))

    def with_rare(self, poem: Poem, n_lines: int) -> Poem:
        """Put random characters into the first lines, to train copying of rare ones."""
        lines = [list(line) for line in poem.lines]
        for line in lines[:n_lines]:
            for at in self.random.sample(range(len(line)), 2):
                line[at] = self.random.choice(self.characters)
        return replace(poem, lines=tuple("".join(line) for line in lines))

    def acrostic(self) -> tuple[str, str, Topic]:
        n_chars = self.random.choice((5, 7))
        heads, lines = self.heads(n_chars)
        if self.random.random() < 0.7:
            query = self.random.choice(wording.ACROSTIC).format(h=heads)
        else:
            template = self.random.choice(wording.ACROSTIC_LENGTH)
            query = template.format(h=heads, n=self.length_name(n_chars))
        form = Form(n_chars, len(heads))
        return self.ended(query), couplets(lines), Topic("acrostic", "", form, heads)

    def heads(self, n_chars: int) -> tuple[str, list[str]]:
        """Return two to eight characters and a verse line for each."""
        n = self.random.choices(range(2, 9), (10, 18, 40, 8, 8, 5, 11))[0]
        source = self.random.random()
        if source < 0.35:
            poem = self.library.any_poem(self.random, Form(n_chars, 4 if n <= 4 else 8))
            lines = list(poem.lines[:n])
            return "".join(line[0] for line in lines), lines
        while True:
            if source < 0.55:
                heads = self.random.choice(wording.PHRASES)
            elif source < 0.8:
                poem = self.library.any_poem(self.random, self.random.choice(FORMS))
                heads = ("".join(poem.lines))[self.random.randint(0, 12) :][:n]
            else:
                heads = self.random_characters(n)
            if not is_held_out(heads):
                return heads, self.lines_for(heads, n_chars)

    def lines_for(self, heads: str, n_chars: int) -> list[str]:
        return [self.library.line_with_head(self.random, head, n_chars) for head in heads]

    def length_name(self, n_chars: int) -> str:
        return self.random.choice(wording.LENGTH_NAMES[n_chars])

    def talk(self, topic: Topic | None) -> tuple[str, str, Topic | None]:
        query, answer = small_talk.exchange(self.random)
        if "{p}" in answer:
            form = self.random.choice(FORMS[:2])
            poem = self.library.any_poem(self.random, form)
            title = self.library.own_title(self.random, poem)
            verse, topic = self.titled(Topic("poem", title, form), poem)
            answer = answer.replace("{p}", "\n" + verse)
        return self.ended(query), answer, topic

    def follow_up(self, topic: Topic) -> tuple[str, str, Topic]:
        """Return a round that depends on the history."""
        if topic.kind == "continuation":
            return self.continue_again(topic)
        if topic.kind == "acrostic":
            return self.acrostic_again(topic)
        return self.poem_again(topic)

    def poem_again(self, topic: Topic) -> tuple[str, str, Topic]:
        pick, old = self.random.choice, topic.form
        change = self.random.choices(
            ("again", "length", "kind", "form", "title"), (20, 22, 15, 18, 25)
        )
        match change[0]:
            case "again":
                query = pick(wording.AGAIN)
            case "length":
                n_chars = 12 - old.n_chars if self.random.random() < 0.85 else old.n_chars
                topic = replace(topic, form=Form(n_chars, old.n_lines))
                query = pick(wording.TO_LENGTH).format(n=self.length_name(n_chars))
            case "kind":
                n_lines = 12 - old.n_lines if self.random.random() < 0.85 else old.n_lines
                topic = replace(topic, form=Form(old.n_chars, n_lines))
                query = pick(wording.TO_FORM).format(f=pick(wording.KIND_NAMES[n_lines]))
                if n_lines != old.n_lines and self.random.random() < 0.15:
                    query = pick(wording.TO_LONGER if n_lines == 8 else wording.TO_SHORTER)
            case "form":
                topic = replace(topic, form=pick(FORMS))
                query = pick(wording.TO_FORM).format(
                    f=pick((topic.form.name, topic.form.name, topic.form.short_name))
                )
            case _:
                title, poem = self.new_title(old)
                topic = replace(topic, title=title)
                return self.ended(pick(wording.TO_TITLE).format(t=title)), *self.titled(topic, poem)
        return self.ended(query), *self.titled(topic)

    def continue_again(self, topic: Topic) -> tuple[str, str, Topic]:
        """Return another poem after the same given line, or one with the other number of lines."""
        form = topic.form
        query = self.random.choice(wording.AGAIN)
        if self.random.random() < 0.4:
            form = Form(form.n_chars, 12 - form.n_lines)
            name = self.random.choice(wording.KIND_NAMES[form.n_lines])
            query = self.random.choice(wording.TO_FORM).format(f=name)
        given = topic.given.split("，")
        poem = self.library.poem_on(self.random, given[0][:2], form, topic.used)
        lines = [*given, *poem.lines[len(given) :]]
        return (
            self.ended(query),
            couplets(lines),
            replace(topic, form=form, used=(*topic.used, poem)),
        )

    def acrostic_again(self, topic: Topic) -> tuple[str, str, Topic]:
        """Return a round with the same characters, another line length or other characters."""
        n_chars, heads = topic.form.n_chars, topic.given
        change = self.random.random()
        if change < 0.35:
            query = self.random.choice(wording.AGAIN)
        elif change < 0.7:
            n_chars = 12 - n_chars
            query = self.random.choice(wording.TO_LENGTH).format(n=self.length_name(n_chars))
        else:
            heads, lines = self.heads(n_chars)
            query = self.random.choice(wording.TO_HEADS).format(h=heads)
        if change < 0.7:
            lines = self.lines_for(heads, n_chars)
        topic = replace(topic, form=Form(n_chars, len(heads)), given=heads)
        return self.ended(query), couplets(lines), topic

    def ended(self, query: str) -> str:
        """Return the query, sometimes with a final mark."""
        if query[-1] in "，。？！；：、.?!":
            return query
        mark = "？" if query[-1] in "吗呢么" else "。"
        return query + self.random.choice(("", "", "", "", mark, "！" if mark == "。" else mark))


def all_wording() -> list[str]:
    """Return all texts of dialogues except the poems, for the vocabulary."""
    lists = [value for value in vars(wording).values() if isinstance(value, list)]
    return (
        [text for group in lists for text in group]
        + list(wording.THEMES)
        + small_talk.all_wording()
    )
