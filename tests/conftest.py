"""What holds for all tests: small real data to train on, scikit-learn's digits, and no look at the Hugging Face Hub."""

import os
from dataclasses import replace

import pytest

from lambc.experiments.data import sources as data

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported, by whatever test


@pytest.fixture(scope="session")
def digits():
    return data.digits()


@pytest.fixture(scope="session")
def few_digits(digits):
    """70 digits to train on and 30 to test with."""
    return replace(
        digits,
        train_images=digits.train_images[:70],
        train_labels=digits.train_labels[:70],
        test_images=digits.test_images[:30],
        test_labels=digits.test_labels[:30],
    )
