"""Which hosts the dashboard answers to: of the real server, by HTTP and by WebSocket."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from app.door import Hosts, host_of, refusal

OURS = ("127.0.0.1", "localhost", "[::1]", socket.gethostname(), "lambc.example.org")
OTHERS = ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.7", "[2001:db8::7]")


@pytest.fixture(scope="module")
def port(log: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lambc", "dashboard", str(log), "--port", str(port)]
    command += ["--allow-host", "lambc.example.org"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        while server.poll() is None and not is_served(port):
            time.sleep(0.2)
        yield port
    finally:
        server.terminate()
        server.wait()


def is_served(port: int) -> bool:
    try:
        return ask(port, f"127.0.0.1:{port}", "/_stcore/health")[0] == 200
    except OSError:
        return False


def ask(port: int, host: str | None, path: str = "/", method: str = "GET") -> tuple[int, str]:
    """The status and the text that the server gives to a request of that host."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.putrequest(method, path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def knock(port: int, host: str, origin: str) -> tuple[int, str]:
    """The status with which the server answers to a WebSocket, and the text if it refuses."""
    at = socket.create_connection(("127.0.0.1", port))
    try:
        with connect(
            f"ws://{host}/_stcore/stream", sock=at, origin=origin, subprotocols=["streamlit"], open_timeout=60
        ) as opened:
            return opened.response.status_code, ""
    except InvalidStatus as error:
        return error.response.status_code, error.response.body.decode()


@pytest.mark.parametrize("host", OURS)
def test_a_host_of_ours_is_answered(port: int, host: str):
    status, page = ask(port, f"{host}:{port}")
    assert status == 200
    assert "<html" in page
    assert ask(port, host)[0] == 200  # a proxy may serve at port 80
    assert knock(port, f"{host}:{port}", f"http://{host}:{port}") == (101, "")


@pytest.mark.parametrize("host", OTHERS)
def test_another_host_is_refused_in_one_sentence(port: int, host: str):
    for path in ("/", "/layers", "/_stcore/health", "/plotly.min.js", "/nowhere"):
        status, text = ask(port, f"{host}:{port}", path)
        assert status == 403
        assert text.startswith("The dashboard was not started for the host")
        assert text.count("\n") == 1
    assert ask(port, f"{host}:{port}", "/_stcore/upload_file", "POST")[0] == 403
    status, text = knock(port, f"{host}:{port}", f"http://{host}:{port}")
    assert status == 403
    assert text.startswith("The dashboard was not started for the host")


def test_a_page_of_another_host_is_refused_also_where_it_asks_for_ours(port: int):
    assert knock(port, f"127.0.0.1:{port}", "http://evil.example") == (403, "")


def test_a_proxy_may_write_our_own_host_over_its_name(port: int):
    assert knock(port, f"127.0.0.1:{port}", "https://lambc.example.org") == (101, "")


@pytest.mark.parametrize("host", ["", ":80", "user@localhost", "localhost:http", "localhost/x", "[::1", "localhost, x"])
def test_a_host_that_cannot_be_read_is_refused(port: int, host: str):
    assert ask(port, host)[0] in (400, 403)


def test_a_name_may_be_in_capitals_and_end_with_a_dot(port: int):
    assert ask(port, f"LocalHost.:{port}")[0] == 200


def test_a_request_without_a_host_is_refused(port: int):
    assert ask(port, None)[0] in (400, 403)


def test_of_two_hosts_none_is_believed():
    assert host_of(["localhost", "evil.example"]) is None
    assert host_of([]) is None
    assert not Hosts("127.0.0.1").include(None)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", None])
def test_who_serves_at_all_addresses_answers_to_each_and_to_no_other_name(address: str | None):
    hosts = Hosts(address)
    assert all(hosts.include(host) for host in ("192.0.2.7", "2001:db8::7", "127.0.0.1", "localhost"))
    assert hosts.include(socket.gethostname().lower())
    assert not hosts.include("evil.example")


def test_who_serves_at_an_address_answers_to_that_one():
    hosts = Hosts("192.0.2.7")
    assert hosts.include("192.0.2.7")
    assert not hosts.include("192.0.2.8")
    assert Hosts("127.0.0.1", ["192.0.2.8", "[2001:db8::7]"]).include("192.0.2.8")


def test_a_refusal_shows_signs_that_a_terminal_would_obey_as_text():
    assert refusal("a\x1b[2J\u202e" + "b" * 1000).isprintable()
    assert len(refusal("b" * 100_000)) < 1000
