"""``chatui web``: serve the app to browsers."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import socket

from chatui.backends.openai.address import is_loopback_host
from chatui.cli import request, start_app
from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write, write_stderr
from chatui.errors import ChatuiError
from chatui.locales import say


def run(args: argparse.Namespace) -> int:
    if start_app.runs_in_page():
        return start_app.run(args)
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
