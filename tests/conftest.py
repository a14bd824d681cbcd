"""Small real data that several folders of tests train on: scikit-learn's digits."""

from dataclasses import replace

import pytest

from lambc.experiments import data


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
