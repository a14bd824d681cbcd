"""A folder of image files with a folder for each class."""

import numpy as np
import pytest
import torch
from PIL import Image

from lambc.experiments.data import sources as data
from lambc.experiments.data.images import DataError


@pytest.fixture
def folder(tmp_path, tiles):
    """Six tiles of each of two classes to train on, three to test with; PNG and BMP, so that no pixel changes."""
    for number, tile in enumerate(tiles[:18]):
        split = "train" if number < 12 else "val"
        place = tmp_path / "photographs" / split / ("flower" if number % 2 else "china") / f"deeper{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile).save(place / f"{number:02}.{'png' if number % 3 else 'bmp'}")
    (tmp_path / "photographs" / "train" / "china" / "boxes.txt").write_text("no image")
    return tmp_path / "photographs"


def test_every_image_has_the_class_of_its_folder(folder, tiles):
    images = data.load(f"folder:{folder}")
    assert (images.name, images.classes) == ("photographs", 2)
    assert images.train_images.shape == (12, 3, 40, 40)
    assert images.test_images.shape == (6, 3, 40, 40)
    assert images.train_labels.tolist() == [0] * 6 + [1] * 6
    found = {image.numpy().tobytes() for image in images.train_images[:6]}
    assert found == {tile.transpose(2, 0, 1).tobytes() for tile in tiles[:12:2]}


def test_test_goes_before_val(folder, tiles):
    for name in ("china", "flower"):
        (folder / "test" / name).mkdir(parents=True)
    Image.fromarray(tiles[20]).save(folder / "test" / "flower" / "a.png")
    images = data.load(f"folder:{folder}")
    assert images.test_labels.tolist() == [1]


def test_grey_images_stay_grey(tmp_path, tiles):
    for split in ("train", "test"):
        (tmp_path / split / "one").mkdir(parents=True)
        Image.fromarray(tiles[0][:, :, 0]).save(tmp_path / split / "one" / "a.png")
    images = data.load(f"folder:{tmp_path}")
    assert images.train_images.shape == (1, 1, 40, 40)
    assert torch.equal(images.train_images[0, 0], torch.from_numpy(tiles[0][:, :, 0].copy()))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_of_16_bits_the_upper_8_are_kept(tmp_path, kind):
    """Pillow's own conversion would make white of all that is above 255."""
    pixels = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    for split in ("train", "test"):
        (tmp_path / split / "one").mkdir(parents=True)
        with (tmp_path / split / "one" / "a.png").open("wb") as file:
            Image.fromarray(pixels).save(file, kind)
    images = data.load(f"folder:{tmp_path}")
    assert np.array_equal(images.train_images.numpy(), (pixels // 256)[None, None])


def test_an_image_of_32_bits_is_refused(folder):
    odd = folder / "val" / "flower" / "zz.png"
    Image.fromarray(np.ones((40, 40), np.float32)).save(odd.with_suffix(".tiff"))
    odd.with_suffix(".tiff").rename(odd)
    with pytest.raises(DataError, match=r"zz\.png: the image has 32 bits a pixel: save it with 8 or 16"):
        data.load(f"folder:{folder}")


def test_an_image_that_cannot_be_decoded_is_named(folder):
    broken = sorted((folder / "train" / "flower").rglob("*.png"))[1]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DataError, match=rf"{broken.name}: the image cannot be decoded: replace or remove it"):
        data.load(f"folder:{folder}")


def test_an_image_of_another_size_is_named(folder, tiles):
    odd = folder / "val" / "flower" / "zz.png"
    Image.fromarray(tiles[0][:30]).save(odd)
    with pytest.raises(DataError, match=r"zz\.png: the image has 40×30 pixels, but .* has 40×40: scale all"):
        data.load(f"folder:{folder}")


def test_a_folder_that_is_half_there_is_said(folder, tmp_path):
    with pytest.raises(DataError, match=r"has no folder train: give folder:FOLDER"):
        data.load(f"folder:{tmp_path / 'nowhere'}")
    (folder / "train" / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no images: fetch them anew, or remove the folder"):
        data.load(f"folder:{folder}")
    (folder / "train" / "empty").rmdir()
    (folder / "val" / "cat").mkdir()
    with pytest.raises(DataError, match="there is no class 'cat' in train"):
        data.load(f"folder:{folder}")
    (folder / "val").rename(folder / "elsewhere")
    with pytest.raises(DataError, match="has no folder test or val"):
        data.load(f"folder:{folder}")
    (folder / "test").mkdir()
    with pytest.raises(DataError, match="test has no images in folders of their classes"):
        data.load(f"folder:{folder}")
