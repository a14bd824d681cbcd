"""Small real data: scikit-learn's two photographs cut into tiles and encoded."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from tests.experiments.parquet_images import encode, write


@pytest.fixture(scope="session")
def tiles():
    """48 colour tiles of 40×40 pixels, uint8 [N, H, W, C]; tile n is of photograph n % 2."""
    photographs = [image[: 40 * 4, : 40 * 6] for image in load_sample_images().images]
    cut = [photograph.reshape(4, 40, 6, 40, 3).swapaxes(1, 2).reshape(24, 40, 40, 3) for photograph in photographs]
    return np.stack(cut, axis=1).reshape(48, 40, 40, 3)


@pytest.fixture
def folder(tmp_path, tiles):
    """A Parquet folder: 32 tiles in two training files, 16 to test with."""
    images = [encode(tile) for tile in tiles]
    labels = [number % 2 for number in range(48)]
    folder = tmp_path / "photographs"
    write(folder / "train-00000-of-00002.parquet", images[:20], labels[:20])
    write(folder / "train-00001-of-00002.parquet", images[20:32], labels[20:32])
    write(folder / "test-00000-of-00001.parquet", images[32:], labels[32:])
    return folder
