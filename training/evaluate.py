"""Evaluate the embedded model on held-out poems: ``python -m training.evaluate``.

Uses 200 prompts of each kind with held-out titles, lines and characters, and the sampling of
generation_config.json. Prints the table of the model card.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoTokenizer, GPT2LMHeadModel

from . import forms, small_talk, wording
from .corpus import Poem, is_held_out, load, split
from .dialogues import Round, frame
from .examples import Encoder
from .forms import FORMS, Form, couplets
from .paths import MODEL
from .trigram import Trigram


class Generator:
    """Generates replies in batches, in float32, with the model's own generation config."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()

    def replies(self, prompts: list[str], batch: int = 50) -> list[str]:
        """Return a reply for each prompt; an incomplete reply ends with …."""
        replies = []
        for start in tqdm(range(0, len(prompts), batch), desc="generate", leave=False):
            inputs = self.tokenizer(
                prompts[start : start + batch],
                add_special_tokens=False,
                padding=True,
                return_tensors="pt",
                return_token_type_ids=False,
            )
            with torch.inference_mode():
                output = self.model.generate(**inputs)
            replies += [
                self.text(row) for row in output[:, inputs["input_ids"].shape[1] :].tolist()
            ]
        return replies

    def text(self, ids: list[int]) -> str:
        end = self.tokenizer.sep_token_id
        ids = (
            ids[: ids.index(end)]
            if end in ids
            else [*ids, self.tokenizer.convert_tokens_to_ids("…")]
        )
        return "".join(
            token.removeprefix("##") for token in self.tokenizer.convert_ids_to_tokens(ids)
        )


def prompt(rounds: list[Round], query: str) -> str:
    """Return the prompt for ``query`` after ``rounds``."""
    said = "".join(f"{frame(i, q)}{reply}\n" for i, (q, reply) in enumerate(rounds))
    return said + frame(len(rounds), query)


@dataclass(frozen=True)
class Case:
    """A query and the requirements on its reply."""

    query: str
    form: Form
    title: str = ""
    given: tuple[str, ...] = ()


class Cases:
    """Draws prompts from the poems held out of training."""

    def __init__(self, poems: list[Poem], seed: int) -> None:
        self.random = Random(seed)
        self.titles = sorted({p.title for p in poems if is_held_out(p.title) and len(p.title) <= 6})
        self.poems = [poem for poem in poems if is_held_out(poem.lines[0])]

    def poem(self) -> Case:
        form, title = self.random.choice(FORMS), self.random.choice(self.titles)
        name = self.random.choice((form.name, form.short_name))
        query = self.random.choice(wording.TITLE_AND_FORM).format(t=title, f=name)
        return Case(query, form, title)

    def continuation(self) -> Case:
        poem = self.random.choice(self.poems)
        given = poem.lines[: self.random.choice((1, 2))]
        query = self.random.choice(wording.CONTINUE).format(g="，".join(given))
        return Case(query, poem.form, given=given)

    def acrostic(self) -> Case:
        """Use first characters of lines, or consecutive characters, of a held-out poem."""
        poem = self.random.choice(self.poems)
        n = self.random.randint(2, 8)
        heads = "".join(line[0] for line in poem.lines)[:n]
        if self.random.random() < 0.5:
            heads = "".join(poem.lines)[:n]
        query = self.random.choice(wording.ACROSTIC).format(h=heads)
        return Case(query, Form(0, len(heads)), given=tuple(heads))

    def other_form(self, case: Case) -> Case:
        """Return a follow-up that changes the form and keeps the title."""
        old, pick = case.form, self.random.choice
        match self.random.choice(("length", "kind", "form")):
            case "length":
                form = Form(12 - old.n_chars, old.n_lines)
                query = pick(wording.TO_LENGTH).format(n=form.length_name)
            case "kind":
                form = Form(old.n_chars, 12 - old.n_lines)
                query = pick(wording.TO_FORM).format(f=form.kind_name)
            case _:
                form = pick([form for form in FORMS if form != old])
                query = pick(wording.TO_FORM).format(f=pick((form.name, form.short_name)))
        return replace(case, query=query, form=form)

    def other_title(self, case: Case) -> Case:
        title = self.random.choice(self.titles)
        return replace(
            case, query=self.random.choice(wording.TO_TITLE).format(t=title), title=title
        )

    def again(self, case: Case) -> Case:
        return replace(case, query=self.random.choice(wording.AGAIN))


def percent(hits: list[bool]) -> str:
    return f"{100 * sum(hits) / len(hits):.1f} %"


def perplexities(generator: Generator, n_poems: int) -> tuple[float, float, float]:
    """Return perplexities per character of held-out poems: plain, with title, and the trigram's.

    The first character is not counted, as the model has no context for it.
    """
    encoder = Encoder(MODEL)
    training, held_out = split(load())
    unknown = encoder.tokenizer.token_to_id("[UNK]")
    texts = [encoder.ids(couplets(poem.lines)) for poem in training]
    trigram = Trigram(texts, encoder.tokenizer.get_vocab_size())
    poems = [
        p for p in held_out if p.title and unknown not in encoder.ids("".join((p.title, *p.lines)))
    ]
    sums = np.zeros(3)
    count = 0
    for poem in tqdm(Random(0).sample(poems, n_poems), desc="perplexity", leave=False):
        ids = encoder.ids(couplets(poem.lines))
        query = f"以《{poem.title}》为题写一首{poem.form.name}"
        head = encoder.ids(frame(0, query) + f"《{poem.title}》\n")
        sums += (
            log_likelihood(generator.model, [], ids),
            log_likelihood(generator.model, head, ids),
            trigram.log_probabilities(ids)[1:].sum(),
        )
        count += len(ids) - 1
    plain, titled, baseline = np.exp(-sums / count)
    return float(plain), float(titled), float(baseline)


def log_likelihood(model: GPT2LMHeadModel, head: list[int], ids: list[int]) -> float:
    """Return the sum of the log probabilities of ``ids[1:]`` after ``head``, in nats."""
    both = torch.tensor([head + ids])
    with torch.inference_mode():
        logs = model(both).logits[0].log_softmax(-1)
    rows = torch.arange(len(head), len(head) + len(ids) - 1)
    return float(logs[rows, torch.tensor(ids[1:])].sum())


def follow_ups(
    generator: Generator, first: list[Case], replies: list[str], second: list[Case]
) -> list[str]:
    """Return the replies to the second queries, with the first rounds as history."""
    said = zip(first, replies, second, strict=True)
    return generator.replies([prompt([(a.query, reply)], b.query) for a, reply, b in said])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=200, help="prompts of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--show", type=int, default=0, help="print that many replies of each kind")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = Generator(MODEL)
    poems = load()
    cases = Cases(split(poems)[1], options.seed)
    n = range(options.prompts)
    rows: list[tuple[str, str]] = []
    verses: list[str] = []

    def show(queries: list[str], replies: list[str]) -> None:
        for query, reply in list(zip(queries, replies, strict=True))[: options.show]:
            print(f"--- {query}\n{reply}")

    def ask(asked: list[Case]) -> list[str]:
        replies = generator.replies([prompt([], case.query) for case in asked])
        show([case.query for case in asked], replies)
        return replies

    def collect(replies: list[str], given: list[tuple[str, ...]]) -> None:
        for reply, skip in zip(replies, given, strict=True):
            lines = forms.verse_lines(forms.split_title(reply)[1]) or []
            verses.extend(line for line in lines if line not in skip)

    first = [cases.poem() for _ in n]
    replies = ask(first)
    collect(replies, [()] * len(first))
    rows.append(
        ("poem: a regular form under a title", percent([forms.is_poem(r) for r in replies]))
    )
    hits = [forms.is_poem(r, c.form, c.title) for c, r in zip(first, replies, strict=True)]
    rows.append(("poem: the form and the title asked for", percent(hits)))

    for name, change in (
        ("form changed, title kept", cases.other_form),
        ("title changed, form kept", cases.other_title),
        ("another one, both kept", cases.again),
    ):
        second = [change(case) for case in first]
        answers = follow_ups(generator, first, replies, second)
        show([f"{a.query} → {b.query}" for a, b in zip(first, second, strict=True)], answers)
        hits = [forms.is_poem(r, c.form, c.title) for c, r in zip(second, answers, strict=True)]
        rows.append((f"follow-up: {name}", percent(hits)))
        collect(answers, [()] * len(second))

    lines = [cases.continuation() for _ in n]
    answers = ask(lines)
    hits = [forms.is_continuation(r, c.given) for c, r in zip(lines, answers, strict=True)]
    rows.append(("continuation: a regular form from the given line on", percent(hits)))
    collect(answers, [case.given for case in lines])

    heads = [cases.acrostic() for _ in n]
    answers = ask(heads)
    verse = [forms.is_verse(r, len(c.given)) for c, r in zip(heads, answers, strict=True)]
    hits = [forms.is_acrostic(r, "".join(c.given)) for c, r in zip(heads, answers, strict=True)]
    rows.append(("acrostic: lines of one length, as many as characters", percent(verse)))
    rows.append(("acrostic: all characters in place too", percent(hits)))
    collect(answers, [()] * len(heads))

    random = Random(options.seed)
    queries = [small_talk.question(random) for _ in n]
    answers = generator.replies([prompt([], query) for query in queries])
    show(queries, answers)
    ended = [len(reply) > 0 and not reply.endswith("…") for reply in answers]
    rows.append(("small talk: an answer that ends", percent(ended)))

    corpus = {line for poem in poems for line in poem.lines}
    rows.append(
        ("lines found verbatim in the corpus", percent([line in corpus for line in verses]))
    )
    plain, titled, baseline = perplexities(generator, 1000)
    rows.append(("perplexity per character, plain text", f"{plain:.1f}"))
    rows.append(("perplexity per character, title and form given", f"{titled:.1f}"))
    rows.append(("perplexity per character, Kneser-Ney trigram", f"{baseline:.1f}"))
    print(f"| {options.prompts} prompts of each kind | measured |\n| --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
