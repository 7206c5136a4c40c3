"""``chatui`` without a command, and ``chatui web``: open the app in a terminal or in browsers."""

from __future__ import annotations

import argparse
import asyncio
import codecs
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from chatui import catalog, locations
from chatui.cli import request
from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write, write_stderr
from chatui.cli.progress import opening_progress
from chatui.conversation.database_recovery import open_recovered
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.web import PAGE_DRIVER


def _runs_in_page() -> bool:
    """Return True if ``chatui web`` started this process for a page."""
    return os.environ.get("TEXTUAL_DRIVER") == PAGE_DRIVER


def _check_terminal() -> None:
    """Raise ChatuiError if the terminal cannot show the app."""
    if not all(stream and stream.isatty() for stream in (sys.__stdin__, sys.__stderr__)):
        raise ChatuiError(say("cli.no_terminal"))
    if os.environ.get("TERM") == "dumb":
        raise ChatuiError(say("cli.dumb_terminal"))
    encoding = getattr(sys.__stderr__, "encoding", None) or "utf-8"
    if codecs.lookup(encoding).name != "utf-8":
        raise ChatuiError(say("cli.no_unicode", encoding=encoding))


def run(args: argparse.Namespace, opened: Callable[[Store], int] | None = None) -> int:
    """Open the app.

    Args:
        opened: returns the conversation to open first; None begins a new one.
    """
    if not _runs_in_page():
        _check_terminal()
    settings = request.settings_of(args)
    spec = request.spec_of(args, settings)
    notices = list(catalog.problems())
    open_store: Callable[..., Store] = Store
    if args.record:
        from chatui.conversation.transcript_recorder import RecordingStore, TranscriptRecorder

        open_store = partial(RecordingStore, recorder=TranscriptRecorder(Path(args.record)))
    try:
        with opening_progress() as on_progress:
            store = open_recovered(
                locations.database_file(), notices.append, open_store, on_progress
            )
        store.announce()
    except ChatuiError as error:
        store = open_store(None)
        notices += [str(error), say("cli.not_saved")]
    from chatui.tui.app import ChatApp

    app = ChatApp(settings, spec, store, notices=notices)
    # Textual would print the traceback of a bug on the terminal; it goes to the log instead.
    setattr(app, "_fatal_error", app._close_messages_no_wait)  # noqa: B010
    try:
        app.initial_conversation_id = None if opened is None else opened(store)
        app.run()
    finally:
        store.close()
    if app._exception is not None:
        raise app._exception
    return app.return_code or SUCCESS


def serve(args: argparse.Namespace) -> int:
    """Serve the app to browsers; in a process that a page started, open the app."""
    if _runs_in_page():
        return run(args)
    import secrets

    from chatui.backends.openai.address import is_loopback_host

    try:
        from chatui.web.app_server import AppServer
    except ModuleNotFoundError as error:
        raise ChatuiError(say("web.no_extra")) from error
    local = is_loopback_host(args.host)
    if not local and not args.allow_remote:
        raise ChatuiError(say("web.not_loopback", host=args.host))
    # Errors of the model are reported here instead of on every page.
    request.spec_of(args, request.settings_of(args))
    server = AppServer(secrets.token_urlsafe(24))

    def ready(port: int) -> None:
        host = f"[{args.host}]" if ":" in args.host else args.host
        if args.host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        url = f"http://{host}:{port}/?token={server.token}"
        write(say("web.ready", url=url) + "\n")
        if not local:
            write_stderr(say("web.remote"))
        if args.open:
            import webbrowser

            webbrowser.open(url)

    asyncio.run(server.serve_until_interrupted(args.host, args.port, ready))
    return SUCCESS
