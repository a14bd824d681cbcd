"""Logs that lie at a URL, as `s3://bucket/runs`: a folder on this machine holds the run, and is kept in line with it.

A run that is written to a URL is written to a local folder, its spool, with all that holds there (renames, merges,
resuming); after each flush the URL is brought in line with the spool. A log that is read is brought to a local folder
first. Both are `mirror`, one way or the other, and nothing else in the collector knows of URLs.

An object store has no rename, and needs none: an object appears whole or not at all. What is new is copied before what
is gone is removed, and a merged part's name says which parts it stands for, so whoever looks in between finds each row,
and counts it once.
"""

import hashlib
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from filelock import FileLock
from pyarrow import fs

from collector.log import atomic
from collector.log.compact import clear_replaced
from collector.log.index import INDEX
from collector.log.parts import replaced_folder
from collector.log.run import SILENT
from collector.log.schema import LOG_TABLES, ROLLUPS
from collector.system import cache_home

Versions: TypeAlias = dict[str, tuple[int, int]]
"""The files in a folder, by their path in it: size in bytes, and when each was changed, in ns since 1970."""

LOCAL = fs.LocalFileSystem(use_mmap=True)
_OPTIONS = ("endpoint_override", "scheme", "region")
_BEAT_NS = int(SILENT.total_seconds() / 2 * 1e9)  # how old the copy of a heartbeat may be
COPIES = 8  # at a time, where a log is fetched: each waits for the network most of its time
_CHUNK = 2**23
_TRIES = 5

_TABLES = "|".join(table.folder for table in (*LOG_TABLES, ROLLUPS))
_OF_A_LOG = re.compile(rf"[^/]+/(run\.json|heartbeat|({_TABLES})/[^/]+\.parquet)")
"""What a reader fetches: a bucket may hold anything else beside it."""

_REASONS = {
    "NO_SUCH_BUCKET": "there is no such bucket; make it, or correct the URL",
    "NETWORK_CONNECTION": "it cannot be reached; check the network, and the endpoint in the URL or AWS_ENDPOINT_URL",
    "ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|TOKEN|InvalidAccessKeyId": "it refuses access; set AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to one who may use it",
}


class RemoteError(OSError):
    """A URL that cannot be read or written, and why, in a sentence."""


class Place(NamedTuple):
    """A folder in a file system."""

    files: fs.FileSystem
    folder: str
    endpoint: str = ""

    def __truediv__(self, name: str) -> "Place":
        return self._replace(folder=f"{self.folder}/{name}")


def is_url(root: object) -> bool:
    """Whether a log's root is a URL, and no folder."""
    return isinstance(root, str) and "://" in root


def local_folder(root: str | os.PathLike[str]) -> Path:
    """The absolute path of a log's root that is a folder; `~` is the user's home.

    Raises ValueError for a `~` that stands for no home, and for a URL that was made a path.
    """
    try:
        folder = Path(root).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{str(root)!r}: there is no such home folder; give the whole path") from error
    if re.match(r"\w{2,}:/", str(root)):
        raise ValueError(f"{str(root)!r} was a URL, of which a path leaves one slash; give it as a string")
    return folder


def fetch(url: str) -> Path:
    """A folder on this machine that is in line with the log at `url`: only what is new there is copied.

    Parts that are gone there stay readable for ten minutes, as where the run is written (collector.log.compact).

    Raises ValueError for a URL that is not understood, FileNotFoundError if there is nothing at it, RemoteError.
    """
    there = open_place(url)
    folder = cache_folder("read", there)
    folder.mkdir(parents=True, exist_ok=True)
    here = Place(LOCAL, str(folder))
    # One at a time: of two that fetch, the one with the older list would remove what the other has just brought.
    with in_words(url), FileLock(folder / ".lock"), ThreadPoolExecutor(COPIES) as pool:
        for tries_left in reversed(range(_TRIES)):
            wanted = _of_log(there, url)
            try:
                mirror(there, here, wanted, versions(here), pool.map)
                break
            except FileNotFoundError:  # merged just now
                if not tries_left:
                    raise
        _tidy(folder, {path.partition("/")[0] for path in wanted})
    return folder


def fingerprint(url: str) -> str:
    """A token that changes when the log at `url` does; reads no file there. Raises as `fetch`.

    Heartbeats change it twice a minute: the copy of a live run would otherwise look stalled.
    """
    with in_words(url):
        found = _of_log(open_place(url), url)
    beats = {path: (0, time // _BEAT_NS) for path, (_, time) in found.items() if path.endswith("/heartbeat")}
    return repr(sorted((found | beats).items()))


def versions(place: Place) -> Versions:
    """The files in a folder, none if there is no such folder.

    Left out is what is hidden, and what serves readers of the local disk alone (`replaced_folder`, the index).
    """
    selector = fs.FileSelector(place.folder, recursive=True, allow_not_found=True)
    found: Versions = {}
    for info in place.files.get_file_info(selector):
        path = info.path.removeprefix(f"{place.folder}/")
        names = path.split("/")
        listed = names[-1] != INDEX and all(name and not name.startswith((".", "replaced_")) for name in names)
        if info.is_file and listed:
            found[path] = (info.size, info.mtime_ns)
    return found


def mirror(source: Place, target: Place, wanted: Versions, have: Versions, each: Callable = map) -> None:
    """Bring `target`, which has the files `have`, in line with those `wanted` of `source`.

    Parts come first, then what speaks of them (run.json, heartbeat), and what is gone goes last. `have` is kept up
    file by file, so that after an error the next call goes on from there. each: copies a batch, as `map` does.

    Raises FileNotFoundError if a file has gone from `source`, and what the file systems raise.
    """

    def copy(path: str) -> None:
        _copy(source, target, path, wanted[path])
        have[path] = wanted[path]

    changed = sorted(path for path in wanted if have.get(path) != wanted[path])
    for parts in (True, False):
        deque(each(copy, [path for path in changed if path.endswith(".parquet") == parts]), maxlen=0)
    for path in sorted(have.keys() - wanted.keys()):
        _remove(target, path)
        del have[path]


def _copy(source: Place, target: Place, path: str, version: tuple[int, int]) -> None:
    if isinstance(target.files, fs.LocalFileSystem):
        download(source, Path(target.folder, path), path, version)
        return
    with source.files.open_input_file(f"{source.folder}/{path}") as file:
        contents = file.read_buffer()  # mapped, and whole: a stream that broke off here would end as half an object
    with target.files.open_output_stream(f"{target.folder}/{path}") as stream:
        stream.write(contents)


def download(source: Place, path: Path, name: str, version: tuple[int, int]) -> None:
    """Download a file and keep its mtime, so that `versions` sees it as unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = atomic.temporary(path)
    for _ in range(_TRIES):
        with (
            _not_found_if_gone(source, name),
            source.files.open_input_stream(f"{source.folder}/{name}") as file,
            written.open("wb") as copy,
        ):
            shutil.copyfileobj(file, copy, _CHUNK)
        if name.endswith(".parquet"):
            break
        before, info = version, source.files.get_file_info(f"{source.folder}/{name}")
        if info.type == fs.FileType.NotFound:
            raise FileNotFoundError(f"{name} was removed after it was read")
        version = (info.size, info.mtime_ns)
        if version == before:  # else it was rewritten meanwhile, and the copy may be some of both
            break
    os.utime(written, ns=(version[1], version[1]))
    os.replace(written, path)


@contextmanager
def _not_found_if_gone(place: Place, path: str) -> Iterator[None]:
    """S3 has various words for an object that goes while it is read, none of them FileNotFoundError."""
    try:
        yield
    except OSError as error:
        if place.files.get_file_info(f"{place.folder}/{path}").type == fs.FileType.NotFound:
            raise FileNotFoundError(f"{path} was removed while it was read") from error
        raise


def _remove(place: Place, path: str) -> None:
    if not isinstance(place.files, fs.LocalFileSystem):
        with suppress(FileNotFoundError):
            place.files.delete_file(f"{place.folder}/{path}")
        return
    file = Path(place.folder, path)
    if file.suffix != ".parquet":
        file.unlink(missing_ok=True)
        return
    aside = replaced_folder(file.parent)  # where a query that has it on its list still finds it
    aside.mkdir(exist_ok=True)
    os.utime(file.rename(aside / file.name))


def _tidy(folder: Path, runs: Iterable[str]) -> None:
    """Remove copies of runs that are no more, and of parts that were replaced a while ago."""
    for run in folder.iterdir():
        if run.is_dir() and run.name not in runs:
            shutil.rmtree(run, ignore_errors=True)
        elif run.is_dir():
            for table in (*LOG_TABLES, ROLLUPS):
                clear_replaced(run / table.folder)


def _of_log(place: Place, url: str) -> Versions:
    found = {path: version for path, version in versions(place).items() if _OF_A_LOG.fullmatch(path)}
    if not found:
        if place.files.get_file_info(place.folder.partition("/")[0]).type == fs.FileType.NotFound:
            raise RemoteError(f"{url}: {_REASONS['NO_SUCH_BUCKET']}")
        raise FileNotFoundError(f"there are no runs at {url!r}; give the URL that they were written to")
    return found


def open_place(url: str) -> Place:
    """The folder that a URL names. Raises ValueError if it is not understood."""
    parts = urlsplit(url)
    if parts.scheme != "s3":
        try:
            files, folder = fs.FileSystem.from_uri(url)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"{url!r} names no store that is known ({error}); give s3://bucket/folder") from error
        return Place(files, folder.rstrip("/"), parts.scheme)
    options = dict(parse_qsl(parts.query))
    if "@" in parts.netloc:
        raise ValueError("a URL holds no secrets: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
    if not parts.netloc or parts.fragment or not options.keys() <= set(_OPTIONS):
        raise ValueError(f"{url!r} is not of the form s3://bucket/folder?option=…, with options {', '.join(_OPTIONS)}")
    environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, endpoint = (options.get("endpoint_override") or environment).rpartition("://")
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    with in_words(url):
        if not region and not endpoint:
            region = fs.resolve_s3_region(parts.netloc)
        files = _s3(endpoint or None, options.get("scheme") or scheme or None, region)
    return Place(files, f"{parts.netloc}{unquote(parts.path)}".rstrip("/"), f"s3 {endpoint}")


@lru_cache
def _s3(endpoint: str | None, scheme: str | None, region: str | None) -> fs.S3FileSystem:
    """Returns a client that fails after about ten seconds, not a minute, if no server answers."""
    return fs.S3FileSystem(
        endpoint_override=endpoint,
        scheme=scheme,
        region=region,
        connect_timeout=3,
        request_timeout=5,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
        allow_delayed_open=True,  # one request, and not three, for what is small
    )


def cache_folder(purpose: str, place: Place) -> Path:
    """Returns the user's cache folder for a place, with that place's folder name."""
    key = hashlib.sha256(f"{place.endpoint} {place.folder}".encode()).hexdigest()[:12]
    return cache_home() / purpose / key / place.folder.rpartition("/")[2]


@contextmanager
def in_words(url: str) -> Iterator[Any]:
    """Turn remote errors into RemoteError, in a sentence; leave those of the local disk."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, RemoteError) or getattr(error, "errno", None) is not None:
            raise
        if isinstance(error, FileNotFoundError | FileExistsError):
            raise
        said = str(error).partition("\n")[0]
        reason = next((words for code, words in _REASONS.items() if re.search(code, said)), "it failed; try again")
        raise RemoteError(f"{url}: {reason} ({said.partition(' operation: ')[2] or said})") from error
