"""A server on this machine that speaks S3: moto's, in an environment of its own (see the Makefile)."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow import fs

ROOT = Path(__file__).parents[2]
MOTO = shutil.which("moto_server", path=str(ROOT / ".venv-s3" / "bin"))
"""The command, or None if it is not installed."""


@contextmanager
def running() -> Iterator["S3Server"]:
    """A server while a test runs; where there is none to start, the test is skipped, but for CI, where it fails."""
    if MOTO is None:
        message = "no moto_server on this machine: make test installs it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    server = S3Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()


class S3Server:
    """A server with nothing in it, on a port of its own; what it holds is lost when it stops."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def files(self) -> fs.S3FileSystem:
        """All of it, as its owner."""
        return fs.S3FileSystem(
            access_key="test", secret_key="test", region="us-east-1", endpoint_override=self.endpoint,
            allow_bucket_creation=True, allow_bucket_deletion=True,
        )  # fmt: skip

    def environment(self, cache: Path) -> dict[str, str]:
        """What makes a process find it under s3://, as its owner, and keep its copies in a folder."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.endpoint,
            "XDG_CACHE_HOME": str(cache),
        }

    def start(self, **environment: str) -> None:
        command = [str(MOTO), "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"{command} did not start")

    def forget(self) -> None:
        """Empty it, and start it if it was stopped."""
        if self._process is None:
            self.start()
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=600).close()

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def names(self, folder: str) -> list[str]:
        """The objects below a folder, by their path in it; no markers of folders."""
        found = self.files.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
        return sorted(info.path.removeprefix(f"{folder}/") for info in found if info.is_file)

    def put(self, path: str, contents: bytes) -> None:
        with self.files.open_output_stream(path) as stream:
            stream.write(contents)
