"""Image data sets as tensors: a whole data set lives on the device, and a batch is an index away."""

import gzip
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lambc.experiments.settings import SOURCES, short_name

# Where Debian's package dataset-fashion-mnist puts the files.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

Report = Callable[[int, int], None]
"""Called with the number of images decoded so far, and of all."""


class DataError(Exception):
    """A data set cannot be had; the message says in one sentence why, and what to do."""


@dataclass(frozen=True)
class Images:
    """A data set of images with one label each.

    name: short, fit for a file name.
    train_images, test_images: uint8 of shape [N, C, H, W].
    train_labels, test_labels: int64 of shape [N], in [0, classes).
    mean, std: float32 of shape [C], of the training pixels (0 to 255); a channel that never varies has a std of 1.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int
    mean: Tensor
    std: Tensor

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.train_images.shape[1]

    @property
    def size(self) -> int:
        """The longer side of an image in pixels."""
        return max(self.train_images.shape[2:])

    def to(self, device: torch.device) -> "Images":
        """The same data on another device."""
        return replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            test_images=self.test_images.to(device),
            test_labels=self.test_labels.to(device),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )

    def normalised(self, images: Tensor) -> Tensor:
        """Pixels [N, C, H, W] as float32, each channel with mean 0 and standard deviation 1 over the training images.

        The result is channels_last, the layout that convolutions are fastest in.
        """
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        return pixels.sub_(self.mean[:, None, None]).div_(self.std[:, None, None])


def load(source: str, data_dir: Path | None = None, report: Report | None = None) -> Images:
    """The data set called `source`, one of `SOURCES`.

    data_dir: where the files of cifar10 and fashion-mnist lie, and where they are put if they have to be downloaded;
        `data` in the working directory by default.
    report: called now and then while a Parquet folder is decoded.

    Raises DataError where the source is unknown, files are missing or damaged, or a download fails.
    """
    match source.partition(":"):
        case ("digits", "", ""):
            return digits()
        case ("fashion-mnist", "", ""):
            return fashion_mnist(data_dir)
        case ("cifar10", "", ""):
            return cifar10(data_dir)
        case ("parquet", ":", folder) if folder:
            return parquet(Path(folder), report)
    raise DataError(f"unknown data {source!r}: give one of {', '.join(SOURCES)}")


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image flipped with probability 1/2 and moved by up to an eighth of its side, zeros coming in at the edge.

    `pixels` is a normalised batch [N, C, H, W], whose zero is the mean colour; `generator` lies on the same device.
    """
    count, channels, height, width = pixels.shape
    reach = max(height, width) // 8

    def draw(choices: int) -> Tensor:
        return torch.randint(choices, (count, 1), generator=generator, device=pixels.device)

    rows = torch.arange(height, device=pixels.device) + draw(2 * reach + 1)
    columns = torch.arange(width, device=pixels.device)
    columns = torch.where(draw(2) == 1, columns.flip(0), columns) + draw(2 * reach + 1)
    padded = torch.nn.functional.pad(pixels, (reach,) * 4)
    index = torch.arange(count, device=pixels.device)[:, None, None, None]
    channel = torch.arange(channels, device=pixels.device)[:, None, None]
    moved = padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return moved.contiguous(memory_format=torch.channels_last)


def digits() -> Images:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels, 360 of them for testing; needs no network."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)  # as printed they go from 0 to 16
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    return _images("digits", train_images, train_labels, test_images, test_labels, classes=10)


def cifar10(data_dir: Path | None = None) -> Images:
    """CIFAR-10 through torchvision, downloaded to `data_dir` unless it lies there."""
    from torchvision.datasets import CIFAR10

    folder = data_dir or Path("data")
    try:
        train, test = (CIFAR10(folder, train=train, download=True) for train in (True, False))
    except (OSError, RuntimeError) as error:  # torchvision raises either, for the network as for a damaged file
        raise _download_failed("CIFAR-10", folder / CIFAR10.base_folder, error) from error
    return _images(
        "cifar10",
        train.data.transpose(0, 3, 1, 2),
        np.array(train.targets),
        test.data.transpose(0, 3, 1, 2),
        np.array(test.targets),
        classes=10,
    )


def fashion_mnist(data_dir: Path | None = None) -> Images:
    """Fashion-MNIST from the IDX files in `data_dir` or in Debian's folder, else downloaded through torchvision."""
    from torchvision.datasets import FashionMNIST

    root = data_dir or Path("data")
    downloaded = root / "FashionMNIST" / "raw"
    folders = [root, downloaded] if data_dir else [root, downloaded, FASHION_MNIST]
    folder = next((folder for folder in folders if list(folder.glob("train-images*"))), None)
    if folder is None:
        try:
            FashionMNIST(root, download=True)
        except (OSError, RuntimeError) as error:
            raise _download_failed("Fashion-MNIST", root, error) from error
        folder = downloaded
    parts = (
        _read_idx(folder, f"{split}-{kind}-ubyte")
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )
    train_images, train_labels, test_images, test_labels = parts
    return _images("fashion-mnist", train_images[:, None], train_labels, test_images[:, None], test_labels, classes=10)


def parquet(folder: Path, report: Report | None = None) -> Images:
    """A folder in the layout of Hugging Face image data sets.

    It holds `train*.parquet` and `test*.parquet` (or `val*.parquet`), itself or in a folder `data`. Each file has a
    column `img` or `image`, a struct whose field `bytes` is an encoded image, and an integer column `label`. Class
    names stand in the schema's metadata under `class_names`, comma-separated; without them the labels are counted.
    Images are grey if all are, else RGB.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: give parquet:FOLDER with a folder that holds train*.parquet")
    train_files, test_files = _split(folder, "train"), _split(folder, "test", "val")
    train, test = [_ImageFile(path) for path in train_files], [_ImageFile(path) for path in test_files]
    names = next((file.class_names for file in train if file.class_names), None)
    total = sum(file.rows for file in train + test)

    shape = train[0].image_shape()
    train_images, train_labels, train_colour = _decode(train, shape, names, report, done=0, total=total)
    test_images, test_labels, test_colour = _decode(test, shape, names, report, done=len(train_labels), total=total)
    if not (train_colour or test_colour):
        train_images, test_images = train_images[:, :1], test_images[:, :1]
    classes = len(names) if names else int(max(train_labels.max(), test_labels.max())) + 1
    return _images(short_name(f"parquet:{folder}"), train_images, train_labels, test_images, test_labels, classes)


def _images(
    name: str,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    classes: int,
) -> Images:
    pixels = torch.from_numpy(np.ascontiguousarray(train_images))
    mean, std = _mean_and_std(pixels)
    return Images(
        name,
        pixels,
        torch.from_numpy(train_labels.astype(np.int64)),
        torch.from_numpy(np.ascontiguousarray(test_images)),
        torch.from_numpy(test_labels.astype(np.int64)),
        classes,
        mean,
        std,
    )


def _mean_and_std(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel of uint8 [N, C, H, W]: by counting the 256 values, which is exact and makes no float copy."""
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.stack([channel.bincount(minlength=256) for channel in pixels.transpose(0, 1).flatten(1)])
    shares = counts.double() / pixels[:, 0].numel()
    mean = shares @ values
    std = (shares @ values.square() - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()


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
            except (OSError, EOFError) as error:
                raise DataError(f"{path} cannot be read ({error}): fetch it anew") from error
            break
    else:
        raise DataError(f"{folder} has no {name} or {name}.gz: give --data-dir with a folder that holds all four files")
    dimensions = content[3] if content[:3] == b"\0\0\x08" else 0  # 8: unsigned bytes
    header = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(content, ">u4", dimensions, offset=4).astype(int)) if dimensions else ()
    if not dimensions or len(content) != header + int(np.prod(shape)):
        raise DataError(f"{path} is not a whole IDX file of bytes: fetch it anew")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()  # torch wants to be able to write


def _split(folder: Path, *prefixes: str) -> list[Path]:
    """The files of a split, by the first prefix that has any."""
    for prefix in prefixes:
        for place in (folder, folder / "data"):
            if files := sorted(place.glob(f"{prefix}*.parquet")):
                return files
    names = " or ".join(f"{prefix}*.parquet" for prefix in prefixes)
    raise DataError(f"{folder} has no {names}: a data set needs train*.parquet, and test*.parquet or val*.parquet")


class _ImageFile:
    """One Parquet file of encoded images and labels."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})") from error
        schema = self._file.schema_arrow
        fields = {field.name: field.type for field in schema}
        image = next((name for name in ("img", "image") if _holds_bytes(fields.get(name))), None)
        if image is None or not pa.types.is_integer(fields.get("label", pa.null())):
            found = ", ".join(f"{name}: {kind}" for name, kind in fields.items())
            raise DataError(
                f"{path} needs the columns img (or image): struct<bytes: binary> and label: int64, but has {found}"
            )
        self._image = image
        self.rows = self._file.metadata.num_rows
        names = (schema.metadata or {}).get(b"class_names", b"").decode()
        self.class_names = names.split(",") if names else None

    def image_shape(self) -> tuple[int, int]:
        """Height and width of the first image."""
        for _, encoded, _ in self.batches():
            return _decode_one(self.path, 0, encoded[0])[0].shape[:2]
        raise DataError(f"{self.path} has no rows")

    def batches(self, rows: int = 2000) -> Iterator[tuple[int, list[bytes | None], np.ndarray]]:
        """The first row's number, the encoded images and the labels of some rows at a time."""
        first = 0
        for batch in self._file.iter_batches(rows, columns=[f"{self._image}.bytes", "label"]):
            labels = batch.column("label")
            if labels.null_count:
                row = first + labels.is_null().to_pylist().index(True)
                raise DataError(f"{self.path}, row {row}: the label is missing")
            yield first, batch.column(self._image).field("bytes").to_pylist(), labels.to_numpy()
            first += len(labels)


def _holds_bytes(kind: object) -> bool:
    import pyarrow as pa

    if not isinstance(kind, pa.StructType) or kind.get_field_index("bytes") < 0:
        return False
    inner = kind.field("bytes").type
    return pa.types.is_binary(inner) or pa.types.is_large_binary(inner)


def _decode(
    files: list[_ImageFile],
    shape: tuple[int, int],
    class_names: list[str] | None,
    report: Report | None,
    *,
    done: int,
    total: int,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Images as uint8 [N, 3, H, W], labels as int64 [N], and whether any image has colour.

    Decoding runs on all cores: Pillow lets go of the interpreter's lock while it decodes.
    """
    count = sum(file.rows for file in files)
    images, labels = np.empty((count, 3, *shape), np.uint8), np.empty(count, np.int64)
    first, any_colour = 0, False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file in files:
            for row, encoded, some_labels in file.batches():
                _check_labels(file.path, row, some_labels, class_names)
                here = slice(first, first + len(encoded))
                labels[here] = some_labels
                first = here.stop
                # A thread takes a hundred at a time: handing over one by one costs more than decoding it.
                starts = range(0, len(encoded), 100)
                tasks = [
                    pool.submit(_decode_some, file.path, row + at, encoded[at : at + 100], images[here][at : at + 100])
                    for at in starts
                ]
                for task in tasks:
                    any_colour |= task.result()
                if report:
                    report(done + first, total)
    return images, labels, any_colour


def _decode_some(path: Path, first: int, encoded: list[bytes | None], into: np.ndarray) -> bool:
    """Decode consecutive rows into uint8 [rows, 3, H, W]; whether any was stored with colour."""
    any_colour = False
    for offset, one in enumerate(encoded):
        pixels, colour = _decode_one(path, first + offset, one)
        if pixels.shape[:2] != into.shape[2:]:
            raise DataError(
                f"{path}, row {first + offset}: the image has {_size(pixels.shape[:2])} pixels, but the first of the "
                f"data set has {_size(into.shape[2:])}: scale all images to one size"
            )
        into[offset] = pixels.transpose(2, 0, 1)
        any_colour |= colour
    return any_colour


def _decode_one(path: Path, row: int, encoded: bytes | None) -> tuple[np.ndarray, bool]:
    """An image as uint8 [H, W, 3], and whether it was stored with colour."""
    from io import BytesIO

    from PIL import Image

    if encoded is None:
        raise DataError(f"{path}, row {row}: the image is missing")
    try:
        with Image.open(BytesIO(encoded)) as image:
            colour = image.mode not in ("1", "L", "LA", "I;16")
            return np.asarray(image.convert("RGB")), colour
    # Pillow raises these, and more kinds from some decoders, for damaged bytes.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}, row {row}: the image cannot be decoded: replace or remove it") from error


def _check_labels(path: Path, first: int, labels: np.ndarray, class_names: list[str] | None) -> None:
    limit = len(class_names) if class_names else np.inf
    wrong = np.flatnonzero((labels < 0) | (labels >= limit))
    if len(wrong):
        row, label = first + wrong[0], labels[wrong[0]]
        known = (
            f"but class_names has {limit}, so labels go from 0 to {limit - 1}"
            if class_names
            else "but labels start at 0"
        )
        raise DataError(f"{path}, row {row}: the label is {label}, {known}")


def _size(shape: tuple[int, ...]) -> str:
    height, width = shape
    return f"{width}×{height}"
