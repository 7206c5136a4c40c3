"""Write compared replies as an HTML page, Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from chatui.conversation.compared_replies import RECORDED, ComparedReplies, ComparedRound
from chatui.conversation.html_page import page
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import escape_json, one_line, plain_text
from chatui.text_difference import Spans, differing_spans


def report_writer(file: Path) -> Callable[[ComparedReplies], str]:
    """Return the function that writes the format of a file's ending.

    Raises:
        ChatuiError: the ending is unknown.
    """
    writer = _WRITERS.get(file.suffix.lower())
    if writer is None:
        raise ChatuiError(say("compare.unknown_form", path=file, forms=", ".join(_WRITERS)))
    return writer


def summary_rows(whole: ComparedReplies) -> Iterator[list[str]]:
    """Yield the rows of the summary: a label, then a value for each column."""
    columns = range(len(whole.names))
    models = columns[1:]

    def row(key: str, value: Callable[[int], str], **words: object) -> list[str]:
        return [say(f"compare.{key}", **words), *map(value, columns)]

    yield row("replies", lambda at: str(len(whole.replies(at))))
    yield row("same", lambda at: str(whole.identical_count(at)) if at != RECORDED else "–")
    for other in columns[:-1]:
        name = one_line(whole.names[other])
        yield row(
            "agreement",
            lambda at, other=other: _percent(whole.agreement(at, other) if at > other else None),  # type: ignore[misc]
            name=name,
        )
    yield row("characters", lambda at: str(sum(len(each.text) for each in whole.replies(at))))
    yield row("tokens", lambda at: str(sum(len(each.ids) for each in whole.replies(at)) or "–"))
    yield row("speed", lambda at: _number(whole.tokens_per_second(at)))
    for model in models:
        yield row(
            "perplexity",
            lambda at, model=model: _number(whole.perplexity(at, model), "compare.not_available"),  # type: ignore[misc]
            name=one_line(whole.names[model]),
        )


def reply_facts(whole: ComparedReplies, one: ComparedRound, column: int) -> str:
    """Return a line about a reply: length, speed, agreement, perplexity under each model."""
    reply = one.replies[column]
    facts = [say("compare.length", characters=len(reply.text))]
    if reply.ids:
        facts.append(say("compare.length_in_tokens", tokens=len(reply.ids)))
    if (speed := reply.tokens_per_second) is not None:
        facts.append(say("compare.tokens_per_second", speed=_number(speed)))
    if column != RECORDED and (share := one.agreement(column)) is not None:
        facts.append(say("compare.agrees", share=_percent(share)))
    found = [(at, one.perplexity(column, at)) for at in range(1, len(whole.names))]
    known = [(at, value) for at, value in found if value is not None]
    if known:
        # A single model is not named.
        names = [f" ({one_line(whole.names[at])})" * (len(found) > 1) for at, _ in known]
        words = (_number(value) + name for (_, value), name in zip(known, names, strict=True))
        facts.append(say("compare.perplexity_is", values=", ".join(words)))
    elif reply.text.strip() and not reply.error:
        values = say("compare.not_available")
        facts.append(say("compare.perplexity_is", values=values))
    return " · ".join(facts)


def marked_replies(one: ComparedRound, columns: int) -> list[tuple[str, Spans]]:
    """Return each column's text and the spans that differ; "" for columns without a reply."""
    replies = [one.replies.get(at) for at in range(columns)]
    texts = [plain_text(reply.text) if reply is not None else "" for reply in replies]
    with_text = [at for at, reply in enumerate(replies) if reply is not None and not reply.error]
    spans = dict(zip(with_text, differing_spans([texts[at] for at in with_text]), strict=True))
    for at, reply in enumerate(replies):
        if reply is not None and reply.error:
            texts[at] = (texts[at] + "\n\n" if texts[at] else "") + plain_text(reply.error)
    return [(text, spans.get(at, ())) for at, text in enumerate(texts)]


def round_heading(one: ComparedRound) -> str:
    """Return the heading of a round: its file and number."""
    return say("compare.round", file=one_line(one.file), number=one.number)


def to_markdown(whole: ComparedReplies) -> str:
    """Return Markdown: a summary table, then each query with its replies."""
    names = [_cell(name) for name in ("", *whole.names)]
    lines = [f"# {say('compare.title')}", "", _row(names), _row(["---"] * len(names))]
    lines += [_row(map(_cell, row)) for row in summary_rows(whole)]
    for one in whole.rounds:
        lines += ["", f"## {round_heading(one)}", ""]
        lines += [f"> {line}".rstrip() for line in plain_text(one.query).split("\n")]
        for at, (text, _) in enumerate(marked_replies(one, len(whole.names))):
            if at in one.replies:
                lines += ["", f"**{_cell(whole.names[at])}** · {reply_facts(whole, one, at)}", ""]
                # Two spaces are a line break in Markdown; poems keep their lines.
                lines += [line + "  " * bool(line) for line in text.split("\n")]
    return "\n".join(lines) + "\n"


def _row(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def to_json(whole: ComparedReplies) -> str:
    """Return a JSON object; unknown numbers are null."""
    columns = range(len(whole.names))

    def by_model(value: Callable[[int], float | None]) -> dict[str, float | None]:
        return {whole.names[at]: value(at) for at in columns[1:]}

    summary = [
        {
            "name": whole.names[at],
            "model": whole.models.get(at),
            "replies": len(whole.replies(at)),
            "same": whole.identical_count(at) if at != RECORDED else None,
            "agreement": {whole.names[to]: whole.agreement(at, to) for to in columns if to != at},
            "characters": sum(len(each.text) for each in whole.replies(at)),
            "tokens": sum(len(each.ids) for each in whole.replies(at)),
            "tokens_per_second": whole.tokens_per_second(at),
            "perplexity": by_model(lambda model, at=at: whole.perplexity(at, model)),  # type: ignore[misc]
        }
        for at in columns
    ]
    rounds = [
        {
            "file": one.file,
            "round": one.number,
            "query": one.query,
            "replies": [
                {
                    "name": whole.names[at],
                    "text": reply.text,
                    "ids": reply.ids,
                    "seconds": reply.seconds,
                    "tokens_per_second": reply.tokens_per_second,
                    "agreement": one.agreement(at) if at != RECORDED else None,
                    "perplexity": by_model(lambda model, at=at, one=one: one.perplexity(at, model)),  # type: ignore[misc]
                    "error": reply.error or None,
                }
                for at, reply in sorted(one.replies.items())
            ],
        }
        for one in whole.rounds
    ]
    text = json.dumps({"summary": summary, "rounds": rounds}, ensure_ascii=False, indent=1)
    return escape_json(text) + "\n"


_STYLE = """
body { max-width: 90rem; } table { width: 100%; } th { text-align: left; }
td, th { vertical-align: top; } .replies { table-layout: fixed; }
.replies td { white-space: pre-wrap; }
mark { background: #f2c14e66; color: inherit; }
"""


def to_html(whole: ComparedReplies) -> str:
    """Return HTML: a summary, then each query's replies side by side with marked differences."""
    title = escape(say("compare.title"))
    head = "".join(f"<th>{escape(one_line(name))}</th>" for name in whole.names)
    parts = [f"<header><h1>{title}</h1></header>", f"<table><tr><th></th>{head}</tr>"]
    for first, *values in summary_rows(whole):
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        parts.append(f"<tr><th>{escape(first)}</th>{cells}</tr>")
    parts.append("</table>")
    for one in whole.rounds:
        parts.append(f"<section><h2>{escape(round_heading(one))}</h2>")
        parts.append(f'<div class="query">{escape(plain_text(one.query))}</div>')
        parts.append(f'<table class="replies"><tr>{head}</tr><tr>')
        for text, spans in marked_replies(one, len(whole.names)):
            parts.append(f"<td>{_marked(text, spans)}</td>")
        parts.append("</tr><tr>")
        for at in range(len(whole.names)):
            facts = escape(reply_facts(whole, one, at)) if at in one.replies else ""
            parts.append(f'<td class="by">{facts}</td>')
        parts.append("</tr></table></section>")
    return page(title, "\n".join(parts), _STYLE)


def _marked(text: str, spans: Spans) -> str:
    done, at = "", 0
    for start, end in spans:
        done += escape(text[at:start]) + f"<mark>{escape(text[start:end])}</mark>"
        at = end
    return done + escape(text[at:])


def _percent(share: float | None) -> str:
    # Rounded down, so that only exact agreement is 100 %.
    return "–" if share is None else f"{int(share * 1000) / 10:g} %"


def _number(value: float | None, missing: str = "") -> str:
    if value is None:
        return say(missing) if missing else "–"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


_WRITERS: dict[str, Callable[[ComparedReplies], str]] = {
    ".html": to_html,
    ".md": to_markdown,
    ".json": to_json,
}
"""Writers by file ending."""
