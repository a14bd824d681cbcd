"""The experiments of the paper: data, models, the training loop."""
