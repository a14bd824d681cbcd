"""The data sets by name, and those that come with a library or are downloaded."""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TypeAlias

import numpy as np
from filelock import FileLock

from lambc.experiments.data.image_files import Report, image_folder, parquet
from lambc.experiments.data.imagenet64 import imagenet64
from lambc.experiments.data.images import DataError, Images, make_images
from lambc.experiments.data.text import Text, topics
from lambc.experiments.settings import SOURCES

Data: TypeAlias = Images | Text
"""What is trained on: examples, and for each a label, or one for each place in it."""

DOWNLOADED = ("cifar10", "fashion-mnist")
"""The sources that are fetched if they are not there."""

DOWNLOAD_ERRORS = (OSError, RuntimeError, HTTPException)
"""What torchvision raises, for the network as for a damaged file."""

# Where Debian's package dataset-fashion-mnist puts the files.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_FASHION_MNIST_FILES = [
    f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


def load(source: str, data_dir: Path | None = None, report: Report | None = None) -> Data:
    """The data set called `source`, one of `SOURCES`.

    data_dir: where the files of cifar10 and fashion-mnist lie, and where they are put if they have to be downloaded;
        `data` in the working directory by default.
    report: called now and then while images are decoded.

    Of several processes that need a download one fetches it, and the others wait.

    Raises DataError where the source is unknown, files are missing or damaged, or a download fails.
    """
    if data_dir and source not in DOWNLOADED:
        raise DataError(
            f"--data-dir is for {' and '.join(DOWNLOADED)} alone, and the data are {source!r}: leave it out"
        )
    match source.partition(":"):
        case ("digits", "", ""):
            return digits()
        case ("fashion-mnist", "", ""):
            return fashion_mnist(data_dir)
        case ("cifar10", "", ""):
            return cifar10(data_dir)
        case ("topics", "", ""):
            return topics()
        case ("parquet", ":", folder) if folder:
            return parquet(Path(folder), report)
        case ("folder", ":", folder) if folder:
            return image_folder(Path(folder), report)
        case ("imagenet64", ":", folder) if folder:
            return imagenet64(Path(folder), report)
    raise DataError(f"unknown data {source!r}: give one of {', '.join(SOURCES)}")


def digits() -> Images:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels, 360 of them for testing; needs no network."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)  # as printed they go from 0 to 16
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    return make_images("digits", train_images, train_labels, test_images, test_labels, classes=10)


def cifar10(data_dir: Path | None = None) -> Images:
    """CIFAR-10 through torchvision, downloaded to `data_dir` unless it lies there."""
    from torchvision.datasets import CIFAR10

    folder = data_dir or Path("data")
    try:
        try:
            train, test = (CIFAR10(folder, train=train) for train in (True, False))
        except RuntimeError:  # a file is missing or damaged
            with _one_at_a_time(folder):
                train, test = (CIFAR10(folder, train=train, download=True) for train in (True, False))
    except DOWNLOAD_ERRORS as error:
        raise _download_failed("CIFAR-10", folder / CIFAR10.base_folder, error) from error
    return make_images(
        "cifar10",
        train.data.transpose(0, 3, 1, 2),
        np.array(train.targets),
        test.data.transpose(0, 3, 1, 2),
        np.array(test.targets),
        classes=10,
    )


def fashion_mnist(data_dir: Path | None = None) -> Images:
    """Fashion-MNIST from the IDX files in `data_dir` or in Debian's folder, else downloaded through torchvision."""
    root = data_dir or Path("data")
    downloaded = root / "FashionMNIST" / "raw"
    folders = [root, downloaded] if data_dir else [root, downloaded, FASHION_MNIST]
    folder = next((folder for folder in folders if list(folder.glob("train-images*"))), downloaded)
    try:
        parts = _fashion_mnist_in(folder)
    except DataError:
        if folder != downloaded:  # not ours to mend
            raise
        _fetch_fashion_mnist(root, downloaded)
        parts = _fashion_mnist_in(downloaded)
    train_images, train_labels, test_images, test_labels = parts
    return make_images(
        "fashion-mnist", train_images[:, None], train_labels, test_images[:, None], test_labels, classes=10
    )


def _fashion_mnist_in(folder: Path) -> list[np.ndarray]:
    """Images and labels to train on, then to test with. Raises DataError."""
    parts = [_read_idx(folder, name) for name in _FASHION_MNIST_FILES]
    for images, labels in (parts[:2], parts[2:]):
        if not 0 < len(images) == len(labels):
            raise DataError(f"{folder} has {len(images)} images with {len(labels)} labels: fetch all four files anew")
        if labels.max() > 9:
            raise DataError(f"{folder} has the label {labels.max()}, and should have 0 to 9: fetch all four files anew")
    return parts


def _fetch_fashion_mnist(root: Path, folder: Path) -> None:
    """Have torchvision make anew what is missing or damaged in its `folder` below `root`. Raises DataError."""
    from torchvision.datasets import FashionMNIST

    try:
        with _one_at_a_time(root):
            damaged = [name for name in _FASHION_MNIST_FILES if not _is_whole(folder, name)]
            for name in damaged:
                (folder / name).unlink(missing_ok=True)  # torchvision checks what it fetches, but not what it unpacks
            if damaged:  # or else another process has been here
                FashionMNIST(root, download=True)
    except DOWNLOAD_ERRORS as error:
        raise _download_failed("Fashion-MNIST", root, error) from error


def _is_whole(folder: Path, name: str) -> bool:
    try:
        _read_idx(folder, name)
    except DataError:
        return False
    return True


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Of two processes that download to a folder, one would take what the other is writing for a damaged file."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".download.lock"):
        yield


def _download_failed(name: str, folder: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"{name} is not in {folder} and cannot be downloaded ({reason}): give --data-dir with the folder that holds it"
    )


def _read_idx(folder: Path, name: str) -> np.ndarray:
    """The uint8 array in an IDX file `name`, gzipped (`name.gz`) or not, in the shape that its header says."""
    for path, opened in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
        if path.exists():
            try:
                with opened(path, "rb") as file:
                    content = file.read()
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"{path} cannot be read ({error}): fetch it anew") from error
            break
    else:
        raise DataError(f"{folder} has no {name} or {name}.gz: give --data-dir with a folder that holds all four files")
    dimensions = int(name[name.index("idx") + 3])
    header = 4 + 4 * dimensions
    begins = content[:4] == bytes([0, 0, 8, dimensions]) and len(content) >= header  # 8: unsigned bytes
    shape = np.frombuffer(content[4:header], ">u4").tolist() if begins else []
    if not begins or len(content) != header + math.prod(shape):
        raise DataError(f"{path} is not a whole IDX file of bytes: fetch it anew")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()  # torch wants to be able to write
