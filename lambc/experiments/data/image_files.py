"""Data sets of encoded images: Parquet files in Hugging Face's layout, and folders with a folder for each class."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lambc.experiments.data.images import DataError, Images, make_images
from lambc.experiments.settings import short_name

Report = Callable[[int, int], None]
"""Called with the number of images decoded so far, and of all."""


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
    train, test = [_ParquetFile(path) for path in train_files], [_ParquetFile(path) for path in test_files]
    names = next((file.class_names for file in train if file.class_names), None)
    return _read(short_name(f"parquet:{folder}"), train, test, names, report)


def image_folder(folder: Path, report: Report | None = None) -> Images:
    """A folder with `train/CLASS/…` and `test/CLASS/…` (or `val/CLASS/…`), image files of any kind that Pillow reads.

    The classes are those of `train`, in the order of their names. Images are grey if all are, else RGB.
    """
    if not (folder / "train").is_dir():
        raise DataError(f"{folder} has no folder train: give folder:FOLDER with train/CLASS/… and test/CLASS/…")
    test = next((folder / name for name in ("test", "val") if (folder / name).is_dir()), None)
    if test is None:
        raise DataError(f"{folder} has no folder test or val: a data set needs one, with a folder for each class")
    names = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    splits = [_ClassFolders(each, names) for each in (folder / "train", test)]
    for name, count in zip(names, np.bincount(splits[0].labels, minlength=len(names)), strict=True):
        if not count:
            raise DataError(f"{folder / 'train' / name} has no images: fetch them anew, or remove the folder")
    return _read(short_name(f"folder:{folder}"), splits[:1], splits[1:], names, report)


def _read(
    name: str, train: Sequence["_Source"], test: Sequence["_Source"], names: list[str] | None, report: Report | None
) -> Images:
    total = sum(source.rows for source in [*train, *test])
    shape = train[0].image_shape()
    train_images, train_labels, train_colour = _decode(train, shape, names, report, done=0, total=total)
    test_images, test_labels, test_colour = _decode(test, shape, names, report, done=len(train_labels), total=total)
    if not (train_colour or test_colour):
        train_images, test_images = train_images[:, :1], test_images[:, :1]
    classes = len(names) if names else int(max(train_labels.max(), test_labels.max())) + 1
    return make_images(name, train_images, train_labels, test_images, test_labels, classes)


def _split(folder: Path, *prefixes: str) -> list[Path]:
    """The files of a split, by the first prefix that has any."""
    for prefix in prefixes:
        for place in (folder, folder / "data"):
            if files := sorted(place.glob(f"{prefix}*.parquet")):
                return files
    names = " or ".join(f"{prefix}*.parquet" for prefix in prefixes)
    raise DataError(f"{folder} has no {names}: a data set needs train*.parquet, and test*.parquet or val*.parquet")


class _Source:
    """Encoded images and their labels, by rows."""

    path: Path
    rows: int

    def where(self, row: int) -> str:
        """What a message calls the place of an image."""
        return f"{self.path}, row {row}"

    def batches(self, rows: int = 2000) -> Iterator[tuple[int, list[bytes | None], np.ndarray]]:
        """The first row's number, the encoded images and the labels of some rows at a time."""
        raise NotImplementedError

    def image_shape(self) -> tuple[int, int]:
        """Height and width of the first image."""
        for _, encoded, _ in self.batches(1):
            return _decode_one(self, 0, encoded[0])[0].shape[:2]
        raise DataError(f"{self.path} has no rows")


class _ClassFolders(_Source):
    """A folder of images for each class."""

    def __init__(self, path: Path, names: list[str]) -> None:
        from PIL import Image

        self.path = path
        kinds = Image.registered_extensions().keys()
        self._files: list[Path] = []
        labels = []
        for folder in sorted(each for each in path.iterdir() if each.is_dir()):
            if folder.name not in names:
                raise DataError(f"{folder}: there is no class {folder.name!r} in train: rename the folder or remove it")
            found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in kinds)
            self._files += found
            labels += [names.index(folder.name)] * len(found)
        if not self._files:
            raise DataError(f"{path} has no images in folders of their classes: a data set needs {path.name}/CLASS/…")
        self.labels = np.array(labels, np.int64)
        self.rows = len(labels)

    def where(self, row: int) -> str:
        """The file."""
        return str(self._files[row])

    def batches(self, rows: int = 2000) -> Iterator[tuple[int, list[bytes | None], np.ndarray]]:
        """As the files come."""
        for first in range(0, self.rows, rows):
            here = slice(first, first + rows)
            try:
                encoded: list[bytes | None] = [file.read_bytes() for file in self._files[here]]
            except OSError as error:
                raise DataError(f"{error.filename} cannot be read ({error.strerror}): replace or remove it") from error
            yield first, encoded, self.labels[here]


class _ParquetFile(_Source):
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
    sources: Sequence[_Source],
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
    count = sum(source.rows for source in sources)
    images, labels = np.empty((count, 3, *shape), np.uint8), np.empty(count, np.int64)
    first, any_colour = 0, False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source in sources:
            for row, encoded, some_labels in source.batches():
                _check_labels(source, row, some_labels, class_names)
                here = slice(first, first + len(encoded))
                labels[here] = some_labels
                first = here.stop
                # A thread takes a hundred at a time: handing over one by one costs more than decoding it.
                starts = range(0, len(encoded), 100)
                tasks = [
                    pool.submit(_decode_some, source, row + at, encoded[at : at + 100], images[here][at : at + 100])
                    for at in starts
                ]
                for task in tasks:
                    any_colour |= task.result()
                if report:
                    report(done + first, total)
    return images, labels, any_colour


def _decode_some(source: _Source, first: int, encoded: list[bytes | None], into: np.ndarray) -> bool:
    """Decode consecutive rows into uint8 [rows, 3, H, W]; whether any was stored with colour."""
    any_colour = False
    for offset, one in enumerate(encoded):
        pixels, colour = _decode_one(source, first + offset, one)
        if pixels.shape[:2] != into.shape[2:]:
            raise DataError(
                f"{source.where(first + offset)}: the image has {_size(pixels.shape[:2])} pixels, but the first of the "
                f"data set has {_size(into.shape[2:])}: scale all images to one size"
            )
        into[offset] = pixels.transpose(2, 0, 1)
        any_colour |= colour
    return any_colour


def _decode_one(source: _Source, row: int, encoded: bytes | None) -> tuple[np.ndarray, bool]:
    """An image as uint8 [H, W, 3], and whether it was stored with colour."""
    from io import BytesIO

    from PIL import Image

    if encoded is None:
        raise DataError(f"{source.where(row)}: the image is missing")
    try:
        with Image.open(BytesIO(encoded)) as image:
            # Pillow reads 16 bits as I;16, or as I where a format has no more, and would cut them off at 255.
            if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
                return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2), False
            if image.mode in ("I", "F"):
                raise DataError(f"{source.where(row)}: the image has 32 bits a pixel: save it with 8 or 16")
            return np.asarray(image.convert("RGB")), image.mode not in ("1", "L", "LA")
    # Pillow raises these, and more kinds from some decoders, for damaged bytes.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{source.where(row)}: the image cannot be decoded: replace or remove it") from error


def _check_labels(source: _Source, first: int, labels: np.ndarray, class_names: list[str] | None) -> None:
    limit = len(class_names) if class_names else np.inf
    wrong = np.flatnonzero((labels < 0) | (labels >= limit))
    if len(wrong):
        row, label = first + wrong[0], labels[wrong[0]]
        known = (
            f"but class_names has {limit}, so labels go from 0 to {limit - 1}"
            if class_names
            else "but labels start at 0"
        )
        raise DataError(f"{source.where(row)}: the label is {label}, {known}")


def _size(shape: tuple[int, ...]) -> str:
    height, width = shape
    return f"{width}×{height}"
