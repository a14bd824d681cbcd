"""Where a run that is written to a URL lies on this machine, until it has been sent."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from collector.log.remote import (
    COPIES,
    LOCAL,
    Place,
    Versions,
    cache_folder,
    in_words,
    mirror,
    open_place,
    versions,
)
from collector.log.run import read_run


class Spool:
    """Where a run that is written to `url` lies on this machine, until it has been sent.

    folder: holds the runs that are written to this URL. behind: whether the last `send` failed.

    Raises ValueError for a URL that is not understood, and RemoteError.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = open_place(url)
        self.folder = cache_folder("spool", self._root)
        self.behind = False
        self._sent: Versions = {}

    def begin(self, name: str, *, resume: bool) -> None:
        """Make ready for a run, whose files are fetched if it is to be resumed.

        Raises FileExistsError if there is a run of that name and it is not to be resumed, or if it went on elsewhere
        while some of its rows were still waiting here, and RemoteError.
        """
        self._here, self._there = Place(LOCAL, str(self.folder / name)), self._root / name
        with in_words(self.url):
            there = versions(self._there)
            if there and not resume:
                raise FileExistsError(
                    f"run {name!r} is there already in {self.url}; take another name, or resume=True to go on"
                )
            if there and not (self.folder / name).exists():
                self._fetch(there)
            elif there:
                self._check_is_ahead()
        self._sent = self._as_sent(there)

    def send(self) -> None:
        """Bring the URL in line with the run's folder. Raises RemoteError; the next call goes on from there."""
        with in_words(self.url):
            if self.behind:  # a server that was away may have come back without what it had
                self._sent = self._as_sent(versions(self._there))
            self.behind = True
            mirror(self._here, self._there, versions(self._here), self._sent)
        self.behind = False

    @property
    def left(self) -> str:
        """Where what was not sent lies, and what to do about it."""
        return f"all of it is in {self._here.folder}; resume it from this machine, or copy that folder to {self.url}"

    def remove(self) -> None:
        """Remove the run's folder, once all of it was sent."""
        shutil.rmtree(self._here.folder, ignore_errors=True)
        with suppress(OSError):  # unless other runs are there
            self.folder.rmdir()
            self.folder.parent.rmdir()

    def _as_sent(self, there: Versions) -> Versions:
        """Returns the remote versions, with the local mtimes of unchanged parts.

        A part is the same if its size is: its name is its own, and where it loses rows it gets smaller.
        """
        here = versions(self._here)
        same = {path for path in there.keys() & here.keys() if there[path][0] == here[path][0]}
        return there | {path: here[path] for path in same if path.endswith(".parquet")}

    def _fetch(self, there: Versions) -> None:
        """Fetch the run atomically: half a run would be taken for all of it, and sent."""
        folder = Path(self._here.folder)
        part = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with ThreadPoolExecutor(COPIES) as pool:
            mirror(self._there, Place(LOCAL, str(part)), there, {}, pool.map)
        part.rename(folder)

    def _check_is_ahead(self) -> None:
        """Raises FileExistsError if the run went on elsewhere since an attempt left its files here."""
        folder = Path(self._here.folder)
        with self._there.files.open_input_stream(f"{self._there.folder}/run.json") as file:
            theirs = json.loads(file.read())["attempts"]
        ours = read_run(folder)["attempts"]
        if [each["started"] for each in theirs] != [each["started"] for each in ours[: len(theirs)]]:
            raise FileExistsError(
                f"run {folder.name!r} went on elsewhere since {folder} was left here: move that folder away to go on "
                f"with what is in {self.url}"
            )
