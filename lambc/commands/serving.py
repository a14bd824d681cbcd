"""The dashboard as a process of its own, which ends with the command that started it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lambc.beside import ROOT
from lambc.commands.asking import refuse_run
from lambc.commands.keeping import RUNS, home
from lambc.commands.needs import need, refuse_hidden
from lambc.commands.terminal import fail, out

Host = Annotated[str, typer.Option(help="The address to serve at; by default only this machine can reach it.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The port to serve at.")]
HOST, PORT = "127.0.0.1", 8501


def dashboard(
    runs: Annotated[
        list[str] | None, typer.Argument(help="The folder of all runs or its URL, or several.", show_default=str(RUNS))
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--runs", metavar="DIR", help="The same, as other commands take it.")
    ] = None,
    host: Host = HOST,
    port: Port = PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further host that it answers to, as a reverse proxy's; repeatable."),
    ] = None,
) -> None:
    """Serve the dashboard. It goes on showing what comes in, until Ctrl-C."""
    from collector.log.remote import is_url

    folders = [home(folder) for folder in [*(runs or []), *(given or [])] or [str(RUNS)]]
    for folder in folders:
        if is_url(folder):
            continue
        if not os.path.isdir(folder):
            fail(f"there is no folder {str(folder)!r}: give the one that holds the runs, or make runs with lambc demo")
        refuse_run(Path(folder))
    allowed = [check_host(name) for name in allow_host or []]
    check_server(host, port)
    serve_dashboard(folders, host, port, allowed)


def check_host(name: str) -> str:
    """The name of a host; fail if it is none."""
    if not re.fullmatch(r"[\w.-]+|\[?[0-9a-f:.]+\]?", name, re.ASCII | re.IGNORECASE):
        fail(f"--allow-host {name!r} is no name of a host: give it without https:// and port, as lambc.example.org")
    return name


def check_server(host: str, port: int) -> None:
    """Fail if the dashboard cannot be served there."""
    refuse_hidden("app")
    need("app", "streamlit", "plotly", "pandas")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":  # elsewhere it would allow a port that is in use
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        fail(f"cannot serve at {host}, port {port} ({error.strerror}): give another --port or --host")


def serve_dashboard(folders: list[str], host: str, port: int, allowed: Sequence[str] = ()) -> None:
    """Run the dashboard as a process of its own until it ends, or until Ctrl-C, SIGTERM or the end of the terminal.

    allowed: hosts that it answers to besides its own (app/door.py).
    """
    from collector.log.remote import is_url

    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",  # whatever a config.toml of the user's says
    }
    # With -P nothing in the working directory hides a module of ours, or of Streamlit's.
    safe = [] if Path.cwd() == ROOT else ["-P"]
    command = [sys.executable, *safe, "-m", "streamlit", "run", str(ROOT / "app" / "main.py")]
    command += [word for option, value in options.items() for word in (f"--{option}", str(value))]
    # Where a proxy writes our own address over the Host, the WebSocket's Origin still has the proxy's name.
    command += [word for name in allowed for word in ("--server.corsAllowedOrigins", f"https://{name}")]
    named = (folder if is_url(folder) else str(Path(folder).absolute()) for folder in folders)
    environment = {**os.environ, "LAMBC_RUNS": "\n".join(named), "LAMBC_HOSTS": ",".join(allowed)}
    address = f"[{host}]" if ":" in host else host
    out.print(f"The dashboard is at http://{address}:{port} until Ctrl-C", soft_wrap=True)
    # A session of its own: a terminal's Ctrl-C then reaches it once, through us, as one that only we were sent does.
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    stopped = False

    def stop(signal_number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        server.terminate()

    previous = {each: signal.signal(each, stop) for each in ending_signals()}
    try:
        code = server.wait()
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
    if code and not stopped:
        fail(f"the dashboard ended with code {code}; what it said is above")


def ending_signals() -> list[signal.Signals]:
    """What ends a command that would go on for ever; not the end of the terminal, if nohup has us outlive it."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals
