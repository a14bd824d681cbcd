"""Refuses requests whose Host is not a name or address for which the dashboard was started.

A web page may let its own name lead to 127.0.0.1 (DNS rebinding): the browser then takes the dashboard for a part of
that page, which may read it. The Host header still has the page's name. Streamlit's `server.allowedHosts` looks at it
for WebSockets alone, and knows no addresses.
"""

import os
import socket
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS = "LAMBC_HOSTS"
"""The environment's name for further hosts, with commas between: those of a reverse proxy."""

_LONGEST_NAME = 253


class Door:
    """Middleware: answers a request, or a WebSocket, of another host with 403."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._hosts = Hosts(st.get_option("server.address"), os.environ.get(HOSTS, "").split(","))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes by a host of ours."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        host = host_of(Headers(scope=scope).getlist("host"))
        if self._hosts.include(host):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await PlainTextResponse(f"{refusal(host)}\n", 403)(scope, receive, send)
        else:
            await send({"type": "websocket.close"})  # which the server says as 403


class Hosts:
    """The hosts of a dashboard: where it is served, this machine's name, localhost, and those that were `named`.

    address: where it is served; None for all addresses of this machine.
    """

    def __init__(self, address: str | None, named: Collection[str] = ()) -> None:
        machine = socket.gethostname()
        names = {"localhost", machine, machine.partition(".")[0], address or "", *named}
        self._names = {name.strip().strip("[]").rstrip(".").lower() for name in names} - {""}
        self._addresses = {ip_address(each[4][0]) for each in socket.getaddrinfo(address or "0.0.0.0", None)}
        self._any_address = any(each.is_unspecified for each in self._addresses)

    def include(self, host: str | None) -> bool:
        """Whether a request for this host is for us. No name can be rebound to an address, which is not looked up."""
        if host is None:
            return False
        if host in self._names:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return self._any_address or address.is_loopback or address in self._addresses


def host_of(headers: list[str]) -> str | None:
    """The host that a request names, without its port; None if it names none, several, or no real one."""
    if len(headers) != 1:
        return None
    try:
        named = urlsplit(f"//{headers[0]}")
        _ = named.port  # raises if it is none
    except ValueError:
        return None
    if named.hostname is None or named.username is not None or named.netloc != headers[0]:
        return None
    return named.hostname.rstrip(".")


def refusal(host: str | None) -> str:
    """What a browser shows instead of the page."""
    if host is None:
        return "The request names no host that can be read: open the dashboard at the address that its terminal says."
    name = ascii(host[:_LONGEST_NAME])
    return (
        f"The dashboard was not started for the host {name}: open it at the address that its terminal says, or, if the "
        f"host is yours, start it with lambc dashboard --allow-host {name}."
    )
