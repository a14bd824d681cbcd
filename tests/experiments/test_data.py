"""Data sets as tensors."""

import gzip
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lambc.experiments.data import images
from lambc.experiments.data import sources as data
from tests.experiments.parquet_images import encode, write


def test_digits_are_scikit_learns_split_once_and_for_all(digits):
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_images.shape == (360, 1, 8, 8)
    assert digits.train_images.dtype == torch.uint8
    assert digits.train_labels.dtype == torch.int64
    assert digits.train_images.max() == 255
    assert digits.classes == 10
    assert digits.test_labels.bincount().min() >= 34  # every class is in the test set as it is in the whole
    assert torch.equal(data.digits().train_images, digits.train_images)


def test_normalised_training_images_have_mean_0_and_deviation_1(digits):
    pixels = digits.normalised(digits.train_images)
    assert pixels.mean().item() == pytest.approx(0, abs=1e-5)
    assert pixels.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_mean_and_deviation_are_each_channels_own(folder, tiles):
    images = data.parquet(folder)
    pixels = tiles[:32].astype(np.float64)
    np.testing.assert_allclose(images.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(images.std, pixels.std((0, 1, 2)), rtol=1e-6)


def test_a_parquet_folder_is_read_in_order_and_pixel_by_pixel(folder, tiles):
    calls = []
    images = data.load(f"parquet:{folder}", report=lambda done, total: calls.append((done, total)))
    assert images.name == "photographs"
    assert images.classes == 2
    np.testing.assert_array_equal(images.train_images, tiles[:32].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(images.test_images, tiles[32:].transpose(0, 3, 1, 2))
    assert images.train_labels.tolist() == [0, 1] * 16
    assert calls[-1] == (48, 48)


def test_more_images_than_one_thread_takes_come_in_order(tmp_path, tiles):
    order = np.arange(250) % 48
    write(tmp_path / "train.parquet", [encode(tiles[number]) for number in order], order % 2)
    write(tmp_path / "val.parquet", [encode(tiles[0])], [0])
    images = data.parquet(tmp_path)
    np.testing.assert_array_equal(images.train_images, tiles[order].transpose(0, 3, 1, 2))


def test_jpeg_and_a_column_called_image_are_read_too(tmp_path, tiles):
    write(
        tmp_path / "data" / "train-0.parquet", [encode(tile, "JPEG") for tile in tiles[:8]], [0, 1] * 4, image="image"
    )
    write(tmp_path / "data" / "validation-0.parquet", [encode(tiles[8], "JPEG")], [0], image="image")
    images = data.parquet(tmp_path)
    off = np.abs(images.train_images.numpy().astype(int) - tiles[:8].transpose(0, 3, 1, 2))
    assert off.mean() < 8


def test_grey_images_among_coloured_ones_become_rgb(folder, tiles):
    grey = tiles[..., 0]
    write(folder / "train-00001-of-00002.parquet", [encode(tile) for tile in grey[20:32]], [0, 1] * 6)
    images = data.parquet(folder)
    assert images.channels == 3
    np.testing.assert_array_equal(images.train_images[20:], np.repeat(grey[20:32, None], 3, axis=1))


def test_images_that_are_all_grey_have_one_channel(tmp_path, tiles):
    grey = tiles[..., 0]
    write(tmp_path / "train.parquet", [encode(tile) for tile in grey[:8]], [0, 1] * 4)
    write(tmp_path / "test.parquet", [encode(tile) for tile in grey[8:10]], [0, 1])
    images = data.parquet(tmp_path)
    np.testing.assert_array_equal(images.train_images, grey[:8, None])


def test_without_class_names_the_labels_are_counted(tmp_path, tiles):
    write(tmp_path / "train.parquet", [encode(tile) for tile in tiles[:2]], [0, 4], class_names=None)
    write(tmp_path / "test.parquet", [encode(tiles[2])], [6], class_names=None)
    assert data.parquet(tmp_path).classes == 7


def test_a_source_that_nobody_knows_is_answered_with_those_that_are():
    with pytest.raises(data.DataError, match=r"'mnits'.*digits, fashion-mnist, cifar10, topics, parquet:FOLDER"):
        data.load("mnits")


@pytest.mark.parametrize("source", ["parquet:", "digits:8", "parquet"])
def test_a_source_with_too_little_or_too_much_is_unknown(source):
    with pytest.raises(data.DataError, match="unknown data"):
        data.load(source)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(data.DataError, match="nowhere is no folder"):
        data.load(f"parquet:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_without_a_split_says_which_files_it_needs(folder, split):
    for file in folder.glob(f"{split}*"):
        file.unlink()
    with pytest.raises(data.DataError, match=rf"has no {split}\*\.parquet"):
        data.parquet(folder)


def test_a_file_with_other_columns_says_which_it_has(folder):
    pq.write_table(pa.table({"img": [b"x"], "class": [0]}), folder / "train-00001-of-00002.parquet")
    with pytest.raises(data.DataError, match=r"train-00001.*needs the columns img .*has img: binary, class: int64"):
        data.parquet(folder)


def test_a_file_that_is_no_parquet_is_named(folder):
    (folder / "test-00000-of-00001.parquet").write_bytes(b"nothing")
    with pytest.raises(data.DataError, match=r"test-00000-of-00001\.parquet cannot be read as Parquet"):
        data.parquet(folder)


@pytest.mark.parametrize("damaged", [b"no image", None], ids=["undecodable", "missing"])
def test_an_image_that_cannot_be_had_is_named_by_file_and_row(folder, tiles, damaged):
    images = [encode(tile) for tile in tiles[:12]]
    images[7] = damaged
    write(folder / "train-00001-of-00002.parquet", images, [0] * 12)
    with pytest.raises(data.DataError, match=r"train-00001-of-00002\.parquet, row 7: the image"):
        data.parquet(folder)


def test_a_truncated_image_is_named_by_file_and_row(folder, tiles):
    images = [encode(tile) for tile in tiles[:4]]
    images[3] = images[3][:500]
    write(folder / "train-00001-of-00002.parquet", images, [0] * 4)
    with pytest.raises(data.DataError, match="row 3: the image cannot be decoded"):
        data.parquet(folder)


def test_an_image_of_another_size_is_named(folder, tiles):
    write(folder / "test-00000-of-00001.parquet", [encode(tiles[0]), encode(tiles[1][:30])], [0, 1])
    with pytest.raises(
        data.DataError, match="row 1: the image has 40×30 pixels, but the first of the data set has 40×40"
    ):
        data.parquet(folder)


@pytest.mark.parametrize("label", [2, -1])
def test_a_label_that_has_no_class_name_is_named(folder, tiles, label):
    write(folder / "train-00001-of-00002.parquet", [encode(tile) for tile in tiles[:3]], [0, 1, label])
    with pytest.raises(data.DataError, match=f"row 2: the label is {label}, but class_names has 2, .* from 0 to 1"):
        data.parquet(folder)


def test_a_negative_label_is_named(tmp_path, tiles):
    write(tmp_path / "train.parquet", [encode(tiles[0])], [-1], class_names=None)
    write(tmp_path / "test.parquet", [encode(tiles[1])], [0], class_names=None)
    with pytest.raises(data.DataError, match="row 0: the label is -1, but labels start at 0"):
        data.parquet(tmp_path)


def test_a_missing_label_is_named(folder, tiles):
    write(folder / "train-00001-of-00002.parquet", [encode(tile) for tile in tiles[:3]], [0, None, 1])
    with pytest.raises(data.DataError, match="row 1: the label is missing"):
        data.parquet(folder)


def write_idx(path, array, *, zipped):
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.tobytes()
    if zipped:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def write_fashion_mnist(folder, grey, *, zipped):
    labels = np.arange(len(grey), dtype=np.uint8) % 10
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", slice(0, 40)), ("t10k", slice(40, 48))):
        write_idx(folder / f"{split}-images-idx3-ubyte", grey[rows], zipped=zipped)
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels[rows], zipped=zipped)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", [".", "FashionMNIST/raw"], ids=["folder", "torchvision"])
def test_fashion_mnist_is_read_from_idx_files(tmp_path, tiles, zipped, place):
    grey = np.ascontiguousarray(tiles[:, :28, :28, 0])
    write_fashion_mnist(tmp_path / place, grey, zipped=zipped)
    images = data.load("fashion-mnist", tmp_path)
    np.testing.assert_array_equal(images.train_images, grey[:40, None])
    assert images.test_labels.tolist() == [number % 10 for number in range(40, 48)]
    assert images.classes == 10


def test_an_idx_file_that_is_cut_off_is_named(tmp_path, tiles):
    write_fashion_mnist(tmp_path, np.ascontiguousarray(tiles[:, :28, :28, 0]), zipped=False)
    file = tmp_path / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(data.DataError, match="t10k-images-idx3-ubyte is not a whole IDX file"):
        data.load("fashion-mnist", tmp_path)


@pytest.mark.parametrize("length", [0, 3, 4, 6, 15])
def test_an_idx_file_that_ends_within_its_header_is_named(tmp_path, tiles, length):
    write_fashion_mnist(tmp_path, np.ascontiguousarray(tiles[:, :28, :28, 0]), zipped=False)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(data.DataError, match="train-images-idx3-ubyte is not a whole IDX file"):
        data.load("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros(39, np.uint8), "40 images with 39 labels"),
        (np.full(40, 77, np.uint8), "the label 77, and should have 0 to 9"),
        (np.zeros((40, 1), np.uint8), "train-labels-idx1-ubyte is not a whole IDX file"),
    ],
)
def test_labels_that_do_not_fit_the_images_are_refused(tmp_path, tiles, labels, said):
    write_fashion_mnist(tmp_path, np.ascontiguousarray(tiles[:, :28, :28, 0]), zipped=False)
    write_idx(tmp_path / "train-labels-idx1-ubyte", labels, zipped=False)
    with pytest.raises(data.DataError, match=said):
        data.load("fashion-mnist", tmp_path)


def test_a_damaged_archive_is_named(tmp_path, tiles):
    write_fashion_mnist(tmp_path, np.ascontiguousarray(tiles[:, :28, :28, 0]), zipped=True)
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    content[20:60] = bytes(byte ^ 0xFF for byte in content[20:60])
    file.write_bytes(content)
    with pytest.raises(data.DataError, match=r"t10k-images-idx3-ubyte\.gz cannot be read .*: fetch it anew"):
        data.load("fashion-mnist", tmp_path)


def test_of_several_processes_one_downloads(tmp_path, tiles, monkeypatch):
    """And what an earlier one left half unpacked is made anew."""
    grey = np.ascontiguousarray(tiles[:, :28, :28, 0])
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"half")
    downloads = []

    def download(root, download):
        assert not (raw / "train-images-idx3-ubyte").exists()
        downloads.append(root)
        time.sleep(0.2)
        write_fashion_mnist(raw, grey, zipped=False)

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", download)  # the network is what this machine lacks
    with ThreadPoolExecutor(2) as pool:
        loaded = list(pool.map(lambda _: data.load("fashion-mnist", tmp_path), range(2)))
    assert len(downloads) == 1
    for each in loaded:
        np.testing.assert_array_equal(each.train_images, grey[:40, None])


@pytest.mark.parametrize("source", ["cifar10", "fashion-mnist"])
def test_where_nothing_can_be_put_a_download_says_so(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(data.DataError, match=r"cannot be downloaded .*--data-dir"):
        data.load(source, tmp_path / "file")


def test_a_folder_for_downloads_is_refused_where_nothing_is_downloaded(tmp_path):
    with pytest.raises(data.DataError, match=r"--data-dir is for cifar10 and fashion-mnist alone, .* 'digits': leave"):
        data.load("digits", tmp_path)


@pytest.mark.parametrize("source", ["cifar10", "fashion-mnist"])
def test_without_a_network_a_download_says_where_the_files_may_lie(source, tmp_path, monkeypatch):
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of its first use, also for later tests
    monkeypatch.setattr(data, "FASHION_MNIST", tmp_path)
    with pytest.raises(data.DataError, match=r"cannot be downloaded .*--data-dir"):
        data.load(source, tmp_path)


def test_augmenting_moves_and_flips_each_image_on_its_own():
    pixels = torch.arange(1, 16 * 16 + 1.0).reshape(1, 1, 16, 16).expand(200, 3, 16, 16)
    moved = images.augment(pixels, torch.Generator().manual_seed(0))
    assert moved.shape == pixels.shape
    padded = torch.nn.functional.pad(pixels[0, 0], (2, 2, 2, 2))
    crops = [padded[y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    places = crops + [crop.flip(1) for crop in crops]
    seen = set()
    for image in moved:
        assert torch.equal(image[0], image[1])
        found = [number for number, place in enumerate(places) if torch.equal(image[0], place)]
        assert len(found) == 1
        seen.update(found)
    assert len(seen) > 40  # of 50


def test_augmenting_by_one_seed_gives_the_same_images():
    pixels = torch.rand(8, 3, 32, 32)
    first, second = (images.augment(pixels, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
