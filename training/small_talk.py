"""Small talk, and what the embedded model cannot do: many ways to ask, a few ways to answer."""

from random import Random

from .wording import words


def exchanges() -> list[tuple[list[str], list[str]]]:
    """Groups of (queries, answers): lines after ``? `` and ``! ``, a blank line between groups."""
    groups = "\n".join(words("small_talk")).split("\n\n")
    return [
        (
            [line[2:] for line in group.split("\n") if line[0] == "?"],
            [line[2:] for line in group.split("\n") if line[0] == "!"],
        )
        for group in groups
    ]


TALK = exchanges()
CANNOT = words("cannot")
"""``{s}`` is a skill, ``{o}`` a topic, ``{a}`` and ``{b}`` numbers, ``{e}`` an English word."""

CANNOT_ANSWERS = words("cannot_answers")
SKILLS = words("skills")
TOPICS = words("topics")
ENGLISH = words("english")


def question(random: Random) -> str:
    """A query that the model cannot serve."""
    return random.choice(CANNOT).format(
        s=random.choice(SKILLS),
        o=random.choice(TOPICS),
        a=random.randint(0, random.choice((9, 99, 999))),
        b=random.randint(1, random.choice((9, 99, 999))),
        e=random.choice(ENGLISH),
    )


def exchange(random: Random) -> tuple[str, str]:
    """(query, answer); ``{p}`` in the answer stands for a short poem on its own lines."""
    if random.random() < 0.55:
        return question(random), random.choice(CANNOT_ANSWERS)
    queries, answers = random.choice(TALK)
    return random.choice(queries), random.choice(answers)


def all_wording() -> list[str]:
    """Every template, word and answer, for the vocabulary."""
    said = [text for queries, answers in TALK for text in queries + answers]
    return [*CANNOT, *CANNOT_ANSWERS, *SKILLS, *TOPICS, *said]
