"""Downsampled ImageNet (Chrabaszcz, Loshchilov & Hutter, arXiv 1707.08819) from the batch files it is published as.

A pickle is a program. These are read by an unpickler that can make numpy's arrays and nothing else.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lambc.experiments.data.images import DataError, Images, make_images
from lambc.experiments.settings import short_name

SIDE, CLASSES = 64, 1000
TRAIN = [f"train_data_batch_{number}" for number in range(1, 11)]
TEST = ["val_data"]

_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # what Python 3 makes bytes of in Python 2's protocols
    *((f"numpy.{core}.{module}", name) for core in ("core", "_core") for module, name in [
        ("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"),
    ]),
}  # fmt: skip
"""All that a pickle of numpy's arrays and numbers calls, as old and new versions name it."""

Report = Callable[[int, int], None]


def imagenet64(folder: Path, report: Report | None = None) -> Images:
    """ImageNet at 64×64 pixels: `train_data_batch_1` to `_10` and `val_data`, pickles or, with that ending, `.npz`.

    Each holds `data`, uint8 of shape [n, 12288], the red, green and blue plane of an image after each other, and
    `labels`, n whole numbers from 1 to 1000; a label is one less here. All of it takes 16 GB of memory.

    report: called with the number of files read so far, and of all.

    Raises DataError where a file is missing or damaged, or holds something else.
    """
    files = [_find(folder, name) for name in [*TRAIN, *TEST]]
    parts = []
    for number, path in enumerate(files, start=1):
        parts.append(_read(path))
        if report:
            report(number, len(files))
    test_images, test_labels = parts.pop()
    train_labels = np.concatenate([labels for _, labels in parts])
    train_images = np.empty((len(train_labels), 3, SIDE, SIDE), np.uint8)
    first = 0
    while parts:  # one is let go after the other, since all of them twice are too much for many a machine
        images, _ = parts.pop(0)
        train_images[first : first + len(images)] = images
        first += len(images)
    name = short_name(f"imagenet64:{folder}")
    return make_images(name, train_images, train_labels, test_images, test_labels, CLASSES)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.npz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} has no {name} or {name}.npz: give imagenet64:FOLDER with the folder that holds all 11")


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images as uint8 [n, 3, 64, 64] and labels as int64 [n], from 0 on."""
    try:
        with path.open("rb") as file:
            batch = _read_npz(file) if path.suffix == ".npz" else _Unpickler(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise DataError(f"{path} cannot be read ({error}): fetch it anew") from error
    except Exception as error:  # whatever damaged bytes lead to; both readers raise a dozen kinds
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}): fetch it anew") from error
    return _checked(path, batch)


def _read_npz(file: BinaryIO) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in ("data", "labels")}


class _Unpickler(pickle.Unpickler):
    """Makes plain Python values and numpy's arrays, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """A class or function that the pickle wants to call."""
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch of images needs")
        return super().find_class(module, name)


def _checked(path: Path, batch: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(batch, dict) or not batch.keys() >= {"data", "labels"}:
        raise DataError(f"{path} has no data and labels: it is no batch of downsampled ImageNet")
    data = batch["data"]
    columns = 3 * SIDE * SIDE
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == columns):
        found = f"{data.dtype} {list(data.shape)}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{path}: data is {found}, but 64×64 pixels in colour are uint8 [n, {columns}]")
    labels = np.asarray(batch["labels"])
    if labels.shape != (len(data),) or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: labels is {labels.dtype} {list(labels.shape)}, but {len(data)} images need as many")
    wrong = np.flatnonzero((labels < 1) | (labels > CLASSES))
    if len(wrong):
        raise DataError(f"{path}, row {wrong[0]}: the label is {labels[wrong[0]]}, but labels go from 1 to {CLASSES}")
    return data.reshape(-1, 3, SIDE, SIDE), labels.astype(np.int64) - 1
