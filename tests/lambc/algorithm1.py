"""Algorithm 1 of the paper, line by line in NumPy's float64: slow, obvious, and written from the paper alone."""

import math

import numpy as np


class Algorithm1:
    """One layer. The options are those that the paper leaves open; each line is named where it is done."""

    def __init__(self, w, *, lr, betas, eps, weight_decay, clip, phi, bias_correction, eps_inside_sqrt,
                 decay_in_ratio, adapt, maximize):  # fmt: skip
        self.w = np.array(w, dtype=np.float64)
        self.m, self.v, self.t = np.zeros_like(self.w), np.zeros_like(self.w), 0  # line 2
        self.eta, (self.beta1, self.beta2), self.eps, self.decay = lr, betas, eps, weight_decay
        self.lower, self.upper = {
            float: lambda: (0.0, clip),
            tuple: lambda: clip,
            type(None): lambda: (0.0, math.inf),
        }[type(clip)]()
        if not adapt:
            self.lower = self.upper = 1.0
        self.phi = (lambda norm: min(max(norm, phi[0]), phi[1])) if phi else (lambda norm: norm)
        self.bias_correction, self.eps_inside_sqrt = bias_correction, eps_inside_sqrt
        self.decay_in_ratio, self.sign = decay_in_ratio, -1.0 if maximize else 1.0

    def step(self, gradient):
        """One turn of the loop in lines 3 to 18; returns ‖w‖, ‖update‖, γ before and after clipping."""
        self.t += 1
        g = self.sign * np.array(gradient, dtype=np.float64)  # line 6
        self.m = self.beta1 * self.m + (1 - self.beta1) * g  # line 7
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2  # line 8
        m = self.m / (1 - self.beta1**self.t) if self.bias_correction else self.m  # line 9
        v = self.v / (1 - self.beta2**self.t) if self.bias_correction else self.v  # line 10
        r = m / np.sqrt(v + self.eps) if self.eps_inside_sqrt else m / (np.sqrt(v) + self.eps)  # line 12
        update = r + self.decay * self.w  # the bracket of line 17
        weight_norm = math.sqrt(float((self.w**2).sum()))
        update_norm = math.sqrt(float(((update if self.decay_in_ratio else r) ** 2).sum()))
        gamma = self.phi(weight_norm) / update_norm if weight_norm > 0 and update_norm > 0 else 1.0  # line 13
        clipped = min(max(gamma, self.lower), self.upper)  # line 15
        self.w = self.w - self.eta * clipped * update  # line 17
        return weight_norm, update_norm, gamma, clipped
