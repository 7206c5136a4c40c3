"""``chatui inspect``: the prompt for a query, and the candidates for the next token."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence

import msgspec.structs

from chatui import catalog
from chatui.catalog import library
from chatui.cli import request, session
from chatui.cli.exit_codes import INTERRUPTED, SUCCESS, UsageError
from chatui.cli.output import write, write_json, write_table
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Candidate, Inspection
from chatui.prompting import formats
from chatui.prompting.format import CHAT_TEMPLATE
from chatui.sampling import SETTINGS, SamplingSettings
from chatui.settings import Settings
from chatui.text import token_in_quotes

_TERMINAL = (80, 24)


def run(args: argparse.Namespace) -> int:
    query = request.read_query(args.query, args.encoding)
    settings = request.settings_of(args)
    if args.no_model:
        return _prompt_alone(args, settings, query)
    spec = request.spec_of(args, settings)
    asked = request.request_of(args, query, spec)

    async def work(interrupt: session.InterruptHandler) -> int:
        async with session.loaded_model(spec, interrupt) as (backend, model):
            found = await backend.inspect(asked, args.top)
        found = msgspec.structs.replace(found, notes=(*found.notes, *_penalties(asked.sampling)))
        if args.json:
            about = {"model": model.name, "format": model.format}
            write_json({**as_json(found), "sampling": asked.sampling.active_settings(), **about})
        else:
            _print(found, asked.sampling)
        return INTERRUPTED if interrupt.seen else SUCCESS

    return session.run(work)


def _penalties(sampling: SamplingSettings) -> tuple[str, ...]:
    """Return a note on the settings that let even ``ask --greedy`` take another token, if any."""
    used = [
        f"{name} = {value}"
        for name, value in sampling.active_settings().items()
        if SETTINGS[name].affects_greedy and name not in ("greedy", "max_new_tokens")
    ]
    return (say("cli.inspect.penalties", settings=", ".join(used)),) if used else ()


def as_json(found: Inspection) -> dict[str, object]:
    """Return an inspection as JSON; several rows of ``position_ids`` are a list of lists."""
    shown: dict[str, object] = msgspec.to_builtins(found)
    context = {"used": "context_used", "limit": "context_limit", "dropped_rounds": "dropped_rounds"}
    shown["context"] = {name: shown.pop(field) for name, field in context.items()}
    if len(found.position_ids) == 1:
        (shown["position_ids"],) = found.position_ids
    return shown


def _prompt_alone(args: argparse.Namespace, settings: Settings, query: str) -> int:
    """Print the prompt of the format that is named, else of the model's."""
    reference = args.model or ("" if args.format else settings.model)
    preset = library.find(reference) if reference else None
    name = args.format or (preset.fields.format if preset else None)
    if name is None and preset is None:
        name = reference if reference in formats.names() else _format_of_model(reference, settings)
    if name is None or name == CHAT_TEMPLATE:
        raise UsageError(say("cli.inspect.needs_model"))
    system = args.system if args.system is not None or not preset else preset.fields.system
    form = formats.get(name)
    prompt = form.render(request.read_history(args.history, args.encoding), query, system)
    if args.json:
        write_json({"prompt": prompt, "format": form.name})
    else:
        write(prompt + "\n")
    return SUCCESS


def _format_of_model(reference: str, settings: Settings) -> str:
    """Return the format of a folder, a file or a downloaded repository, from its config alone."""
    try:
        found = catalog.describe_model(reference, settings).entry
    except ChatuiError:
        raise ChatuiError(say("cli.inspect.no_preset", name=reference)) from None
    if not found.format:
        raise ChatuiError(found.missing or say("cli.inspect.no_preset", name=reference))
    return found.format


def _print(found: Inspection, sampling: SamplingSettings) -> None:
    """Print ids and tokens in a table, the prompt, the settings in force and the candidates."""
    write_table(_columns(found))
    write(f"\ninputs\n{found.prompt}\n\n")
    used, limit, dropped = found.context_used, found.context_limit or "?", found.dropped_rounds
    settings = ", ".join(
        name if value is True else f"{name} {value}"
        for name, value in sampling.active_settings().items()
    )
    for line in (
        say("cli.inspect.context", used=used, limit=limit, dropped=dropped),
        say("cli.inspect.sampling", settings=settings or say("cli.inspect.none")),
        *found.notes,
    ):
        write(line + "\n")
    if found.next:
        write("\n")
        headings = (say("cli.inspect.next"), "token", "logit", say("cli.inspect.probability"))
        write_table(map(_candidate_row, found.next), headings)


def _candidate_row(candidate: Candidate) -> tuple[str, ...]:
    # Some servers report no ids.
    id = str(candidate.id) if candidate.id >= 0 else ""
    probability = f"{candidate.probability:.4%}"
    return id, token_in_quotes(candidate.token), f"{candidate.logit:.4f}", probability


def _columns(found: Inspection) -> Iterator[Sequence[str]]:
    """Yield rows of position, id and token, in as many columns as fit on the terminal."""
    from rich.cells import cell_len

    ids = list(map(str, found.input_ids))
    positions = ["/".join(map(str, column)) for column in zip(*found.position_ids, strict=True)]
    positions = positions or list(map(str, range(len(ids))))
    # Some servers report the ids alone.
    tokens = list(map(token_in_quotes, found.tokens)) or [""] * len(ids)
    cells = list(zip(positions, ids, tokens, strict=True))
    heading = (say("cli.inspect.position"), "input_ids", "tokens")
    widths = [max(map(cell_len, column)) for column in zip(heading, *cells, strict=True)]
    across = max(1, shutil.get_terminal_size(_TERMINAL).columns // (sum(widths) + 2 * len(widths)))
    down = -(-len(cells) // across)
    yield heading * across
    for row in range(down):
        taken = [cells[i] if i < len(cells) else ("",) * 3 for i in range(row, down * across, down)]
        yield [cell for group in taken for cell in group]
