"""Write compared replies as an HTML page, Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any

from chatui.conversation.compared_replies import RECORDED, ComparedReplies, ComparedRound
from chatui.conversation.exports import page
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


def summary_rows(comparison: ComparedReplies) -> list[list[str]]:
    """Return the rows of the summary: a label, then a value for each column."""
    names = [one_line(name) for name in comparison.names]
    columns = range(len(names))
    models = columns[RECORDED + 1 :]
    replies = [comparison.replies(column) for column in columns]
    identical = (str(comparison.identical_count(column)) for column in models)
    rows = [
        [say("compare.replies"), *(str(len(each)) for each in replies)],
        [say("compare.same"), "–", *identical],
    ]
    for other in columns[:-1]:
        later = (comparison.agreement(column, other) for column in columns[other + 1 :])
        shares = [*["–"] * (other + 1), *map(_percent, later)]
        rows.append([say("compare.agreement", name=names[other]), *shares])
    characters = (sum(len(reply.text) for reply in each) for each in replies)
    tokens = (sum(len(reply.ids) for reply in each) or "–" for each in replies)
    speeds = (_number(comparison.tokens_per_second(column)) for column in columns)
    rows += [
        [say("compare.characters"), *map(str, characters)],
        [say("compare.tokens"), *map(str, tokens)],
        [say("compare.speed"), *speeds],
    ]
    missing = say("compare.not_available")
    for model in models:
        values = (_number(comparison.perplexity(column, model), missing) for column in columns)
        rows.append([say("compare.perplexity", name=names[model]), *values])
    return rows


def reply_facts(comparison: ComparedReplies, round_: ComparedRound, column: int) -> str:
    """Return a line about a reply: length, speed, agreement, perplexity under each model."""
    reply = round_.replies[column]
    facts = [say("compare.length", characters=len(reply.text))]
    if reply.ids:
        facts.append(say("compare.length_in_tokens", tokens=len(reply.ids)))
    if (speed := reply.tokens_per_second) is not None:
        facts.append(say("compare.tokens_per_second", speed=_number(speed)))
    if column != RECORDED and (share := round_.agreement(column)) is not None:
        facts.append(say("compare.agrees", share=_percent(share)))
    models = range(RECORDED + 1, len(comparison.names))
    values = []
    for model in models:
        if (value := round_.perplexity(column, model)) is not None:
            # A single model is not named.
            name = f" ({one_line(comparison.names[model])})" if len(models) > 1 else ""
            values.append(_number(value) + name)
    if not values and reply.text.strip() and not reply.error:
        values = [say("compare.not_available")]
    if values:
        facts.append(say("compare.perplexity_is", values=", ".join(values)))
    return " · ".join(facts)


def marked_replies(round_: ComparedRound, columns: int) -> list[tuple[str, Spans]]:
    """Return each column's text and the spans that differ; "" for columns without a reply."""
    replies = [round_.replies.get(column) for column in range(columns)]
    texts = [plain_text(reply.text) if reply is not None else "" for reply in replies]
    compared = [at for at, reply in enumerate(replies) if reply is not None and not reply.error]
    found = differing_spans([texts[at] for at in compared])
    spans = dict(zip(compared, found, strict=True))
    for at, reply in enumerate(replies):
        if reply is not None and reply.error:
            texts[at] = "\n\n".join(filter(None, (texts[at], plain_text(reply.error))))
    return [(text, spans.get(at, ())) for at, text in enumerate(texts)]


def round_heading(round_: ComparedRound) -> str:
    """Return the heading of a round: its file and number."""
    return say("compare.round", file=one_line(round_.file), number=round_.number)


def to_markdown(comparison: ComparedReplies) -> str:
    """Return Markdown: a summary table, then each query with its replies."""
    names = [_cell(name) for name in ("", *comparison.names)]
    lines = [f"# {say('compare.title')}", "", _row(names), _row(["---"] * len(names))]
    lines += [_row(map(_cell, row)) for row in summary_rows(comparison)]
    for round_ in comparison.rounds:
        lines += ["", f"## {round_heading(round_)}", ""]
        lines += [f"> {line}".rstrip() for line in plain_text(round_.query).split("\n")]
        for column, (text, _) in enumerate(marked_replies(round_, len(comparison.names))):
            if column in round_.replies:
                facts = reply_facts(comparison, round_, column)
                lines += ["", f"**{_cell(comparison.names[column])}** · {facts}", ""]
                # Two spaces are a line break in Markdown; poems keep their lines.
                lines += [line + "  " * bool(line) for line in text.split("\n")]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def to_json(comparison: ComparedReplies) -> str:
    """Return a JSON object; unknown numbers are null."""
    names = comparison.names
    columns = range(len(names))
    models = columns[RECORDED + 1 :]
    summary = []
    for column in columns:
        replies = comparison.replies(column)
        others = (other for other in columns if other != column)
        summary.append(
            {
                "name": names[column],
                "model": comparison.models.get(column),
                "replies": len(replies),
                "same": None if column == RECORDED else comparison.identical_count(column),
                "agreement": {names[each]: comparison.agreement(column, each) for each in others},
                "characters": sum(len(reply.text) for reply in replies),
                "tokens": sum(len(reply.ids) for reply in replies),
                "tokens_per_second": comparison.tokens_per_second(column),
                "perplexity": {names[each]: comparison.perplexity(column, each) for each in models},
            }
        )

    def replies_of(round_: ComparedRound) -> list[dict[str, Any]]:
        return [
            {
                "name": names[column],
                "text": reply.text,
                "ids": reply.ids,
                "seconds": reply.seconds,
                "tokens_per_second": reply.tokens_per_second,
                "agreement": None if column == RECORDED else round_.agreement(column),
                "perplexity": {names[each]: round_.perplexity(column, each) for each in models},
                "error": reply.error or None,
            }
            for column, reply in sorted(round_.replies.items())
        ]

    rounds = [
        {"file": each.file, "round": each.number, "query": each.query, "replies": replies_of(each)}
        for each in comparison.rounds
    ]
    text = json.dumps({"summary": summary, "rounds": rounds}, ensure_ascii=False, indent=1)
    return escape_json(text) + "\n"


_STYLE = """
body { max-width: 90rem; } table { width: 100%; } th { text-align: left; }
td, th { vertical-align: top; } .replies { table-layout: fixed; }
.replies td { white-space: pre-wrap; }
mark { background: #f2c14e66; color: inherit; }
"""


def to_html(comparison: ComparedReplies) -> str:
    """Return HTML: a summary, then each query's replies side by side with marked differences."""
    title = escape(say("compare.title"))
    head = "".join(f"<th>{escape(one_line(name))}</th>" for name in comparison.names)
    parts = [f"<header><h1>{title}</h1></header>", f"<table><tr><th></th>{head}</tr>"]
    for label, *values in summary_rows(comparison):
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        parts.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
    parts.append("</table>")
    for round_ in comparison.rounds:
        parts.append(f"<section><h2>{escape(round_heading(round_))}</h2>")
        parts.append(f'<div class="query">{escape(plain_text(round_.query))}</div>')
        parts.append(f'<table class="replies"><tr>{head}</tr><tr>')
        for text, spans in marked_replies(round_, len(comparison.names)):
            parts.append(f"<td>{_marked(text, spans)}</td>")
        parts.append("</tr><tr>")
        for column in range(len(comparison.names)):
            known = column in round_.replies
            facts = reply_facts(comparison, round_, column) if known else ""
            parts.append(f'<td class="by">{escape(facts)}</td>')
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


def _number(value: float | None, missing: str = "–") -> str:
    if value is None:
        return missing
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


_WRITERS: dict[str, Callable[[ComparedReplies], str]] = {
    ".html": to_html,
    ".md": to_markdown,
    ".json": to_json,
}
"""Writers by file ending."""
