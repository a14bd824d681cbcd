"""The LAMBC family of PyTorch optimizers: layer-wise trust ratios, clipped and recorded."""
