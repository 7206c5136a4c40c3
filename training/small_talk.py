"""Small talk, and requests that the embedded model cannot fulfil, with answers."""

from random import Random

from .wording import words


def exchanges() -> list[tuple[list[str], list[str]]]:
    """Read groups of (queries, answers): lines with ``? `` and ``! ``, separated by blank lines."""
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
    """Return a request that the model cannot fulfil."""
    return random.choice(CANNOT).format(
        s=random.choice(SKILLS),
        o=random.choice(TOPICS),
        a=random.randint(0, random.choice((9, 99, 999))),
        b=random.randint(1, random.choice((9, 99, 999))),
        e=random.choice(ENGLISH),
    )


def exchange(random: Random) -> tuple[str, str]:
    """Return (query, answer); ``{p}`` in the answer is the place of a short poem."""
    if random.random() < 0.55:
        return question(random), random.choice(CANNOT_ANSWERS)
    queries, answers = random.choice(TALK)
    return random.choice(queries), random.choice(answers)


def all_wording() -> list[str]:
    """Return all templates, words and answers, for the vocabulary."""
    said = [text for queries, answers in TALK for text in queries + answers]
    return [*CANNOT, *CANNOT_ANSWERS, *SKILLS, *TOPICS, *said]
