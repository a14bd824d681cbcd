"""Downsampled ImageNet's batch files, and what else may lie in their place."""

import os
import pickle

import numpy as np
import pytest
import torch

from lambc.experiments.data import sources as data
from lambc.experiments.data.imagenet64 import TEST, TRAIN
from lambc.experiments.data.images import DataError


def batch(number, rows=3):
    """A batch as it is published: images whose pixels tell their batch and row, and labels from 1 on."""
    pixels = np.full((rows, 12288), 10 * number, np.uint8) + np.arange(rows, dtype=np.uint8)[:, None]
    pixels[:, 4096:8192] += 100  # the green plane
    return {"data": pixels, "labels": [number * 50 + row + 1 for row in range(rows)], "mean": np.zeros(12288)}


def put(folder, name, contents, kind="pickle", protocol=4):
    folder.mkdir(exist_ok=True)
    if kind == "npz":
        arrays = {key: np.asarray(value) for key, value in contents.items()}
        np.savez(folder / f"{name}.npz", **arrays)
    else:
        (folder / name).write_bytes(pickle.dumps(contents, protocol))


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate([*TRAIN, *TEST]):
        put(tmp_path / "imagenet", name, batch(number), protocol=2 + number % 4)
    return tmp_path / "imagenet"


def test_the_batches_follow_each_other_with_planes_and_labels_in_place(folder):
    images = data.load(f"imagenet64:{folder}")
    assert images.name == "imagenet"
    assert images.classes == 1000
    assert images.train_images.shape == (30, 3, 64, 64)
    assert images.test_images.shape == (3, 3, 64, 64)
    assert images.train_images[:, 0, 0, 0].tolist() == [10 * n + row for n in range(10) for row in range(3)]
    assert images.train_images[:, 1, 63, 63].tolist() == [10 * n + row + 100 for n in range(10) for row in range(3)]
    assert images.train_labels.tolist() == [50 * n + row for n in range(10) for row in range(3)]
    assert images.test_labels.tolist() == [500, 501, 502]
    assert images.train_images.dtype == torch.uint8


def test_npz_files_are_read_too(folder, tmp_path):
    for number, name in enumerate([*TRAIN, *TEST]):
        put(tmp_path / "npz", name, batch(number), "npz")
    one, other = data.load(f"imagenet64:{folder}"), data.load(f"imagenet64:{tmp_path / 'npz'}")
    assert torch.equal(one.train_images, other.train_images)
    assert torch.equal(one.train_labels, other.train_labels)


def test_batches_that_an_older_numpy_wrote_are_read(folder):
    for name in [*TRAIN, *TEST]:
        path = folder / name
        written = pickle.dumps(pickle.loads(path.read_bytes()), protocol=2)
        assert b"cnumpy._core.multiarray\n" in written
        path.write_bytes(written.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert len(data.load(f"imagenet64:{folder}")) == 30


class Command:
    """A pickle that would run a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_a_command_is_refused_and_does_not(protocol, folder, tmp_path):
    put(folder, TRAIN[3], {"data": Command(tmp_path / "owned"), "labels": []}, protocol=protocol)
    with pytest.raises(DataError, match=r"train_data_batch_4 cannot be read \(it asks for .*mkdir"):
        data.load(f"imagenet64:{folder}")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "eval"), ("numpy", "load"), ("numpy.core.multiarray", "fromfile"), ("os", "x.y")]
)
def test_nothing_but_arrays_is_made(module, name, folder):
    (folder / TRAIN[0]).write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(DataError, match=rf"it asks for {module}\.{name}"):
        data.load(f"imagenet64:{folder}")


def test_an_npz_file_that_holds_a_pickle_is_refused(folder, tmp_path):
    (folder / TRAIN[0]).unlink()
    np.savez(folder / f"{TRAIN[0]}.npz", data=np.array([Command(tmp_path / "owned")]), labels=np.array([1]))
    with pytest.raises(DataError, match="damaged"):
        data.load(f"imagenet64:{folder}")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"labels": [1, 0, 2]}, r"row 1: the label is 0, but labels go from 1 to 1000"),
        ({"labels": [1, 2, 1001]}, r"row 2: the label is 1001"),
        ({"labels": [1, 2]}, r"labels is int64 \[2\], but 3 images need as many"),
        ({"labels": ["cat", "dog", "cow"]}, r"labels is <U3 \[3\]"),
        ({"data": np.zeros((3, 3072), np.uint8)}, r"data is uint8 \[3, 3072\], but .* uint8 \[n, 12288\]"),
        ({"data": np.zeros((3, 12288))}, r"data is float64 \[3, 12288\]"),
        ({"data": [1, 2, 3]}, r"data is list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_batch_that_is_none_is_said_with_its_file(wrong, sentence, folder):
    put(folder, TRAIN[2], batch(2) | wrong)
    with pytest.raises(DataError, match=f"train_data_batch_3.*{sentence}"):
        data.load(f"imagenet64:{folder}")


def test_half_a_folder_and_half_a_file_are_said(folder):
    whole = (folder / TRAIN[9]).read_bytes()
    (folder / TRAIN[9]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train_data_batch_10 .*: fetch it anew"):
        data.load(f"imagenet64:{folder}")
    (folder / TRAIN[9]).unlink()
    with pytest.raises(DataError, match=r"has no train_data_batch_10 or train_data_batch_10\.npz"):
        data.load(f"imagenet64:{folder}")
    put(folder, TRAIN[9], ["not", "a", "batch"])
    with pytest.raises(DataError, match="train_data_batch_10 has no data and labels"):
        data.load(f"imagenet64:{folder}")
