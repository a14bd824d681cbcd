"""LAMBC beside other people's LAMB: timm's as it is installed, apex's and the paper's authors' rules written out."""

import copy
import math

import pytest
import timm.optim
import torch

from lambc import LAMBC

PATHS = [{"fused": True}, {"foreach": True}, {"foreach": False}]
SHAPES = [(64, 32), (64,), (16, 8, 3, 3), (5000,), (7,)]


class Written:
    """A LAMB as a plain loop in the dtype of its parameters."""

    def __init__(self, params, lr, rule):
        self.params, self.lr, self.rule, self.t = list(params), lr, rule, 0
        self.m = [torch.zeros_like(param) for param in self.params]
        self.v = [torch.zeros_like(param) for param in self.params]

    @torch.no_grad()
    def step(self):
        self.t += 1
        grads = self.rule.prepare([param.grad for param in self.params])
        for param, grad, m, v in zip(self.params, grads, self.m, self.v, strict=True):
            m.copy_(0.9 * m + 0.1 * grad)
            v.copy_(0.999 * v + 0.001 * grad * grad)
            update = self.rule.update(m, v, self.t, param)
            norms = param.double().norm().item(), update.double().norm().item()
            ratio = self.rule.clip(norms[0] / norms[1]) if all(norms) else self.rule.clip(1.0)
            param -= self.lr * ratio * update


class Apex:
    """FusedLAMB, use_nvlamb and adam_w_mode on (csrc/multi_tensor_lamb.cu): all layers adapted, total norm limited."""

    def __init__(self, max_grad_norm, weight_decay):
        self.max_grad_norm, self.weight_decay = max_grad_norm, weight_decay

    def prepare(self, grads):
        norm = math.sqrt(sum(grad.double().square().sum().item() for grad in grads))
        return [grad / max(norm / self.max_grad_norm, 1.0) for grad in grads]

    def update(self, m, v, t, param):
        corrected = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-6)
        return corrected + self.weight_decay * param

    def clip(self, ratio):
        return ratio


class Authors:
    """The paper's authors' own code: no bias correction, ε outside the root, an upper bound alone."""

    def __init__(self, bound):
        self.bound = bound

    def prepare(self, grads):
        return grads

    def update(self, m, v, t, param):
        return m / (v.sqrt() + 1e-6)

    def clip(self, ratio):
        return min(ratio, self.bound)


def timm_lamb(trust_clip, weight_decay):
    return lambda params, lr: timm.optim.Lamb(
        params, lr=lr, weight_decay=weight_decay, max_grad_norm=None, trust_clip=trust_clip, always_adapt=True
    )


PEERS = {
    "timm": (timm_lamb(False, 0.0), {"clip": None}),
    "timm-decay": (timm_lamb(False, 0.05), {"clip": None, "weight_decay": 0.05}),
    "timm-trust-clip": (timm_lamb(True, 0.05), {"clip": 1.0, "weight_decay": 0.05}),
    "apex": (
        lambda params, lr: Written(params, lr, Apex(max_grad_norm=0.5, weight_decay=0.05)),
        {"clip": None, "weight_decay": 0.05, "max_grad_norm": 0.5},
    ),
    "authors": (lambda params, lr: Written(params, lr, Authors(1.0)), {"clip": 1.0, "bias_correction": False}),
}


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("peer", PEERS)
def test_fed_the_same_gradients_it_goes_the_same_way_as(peer, path):
    make_peer, options = PEERS[peer]
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = copy.deepcopy(ours)
    optimizer, other = LAMBC(ours, lr=1e-3, **path, **options), make_peer(theirs, 1e-3)
    for _ in range(50):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a) * 0.01
            b.grad = a.grad.clone()
        optimizer.step()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-6 * b.abs().max()


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("peer", PEERS)
def test_a_network_trained_in_float64_ends_with_the_same_weights_as(peer, path):
    make_peer, options = PEERS[peer]
    torch.manual_seed(0)
    # A bias before BatchNorm has no gradient but rounding, which Adam's normalisation makes as large as any other.
    ours = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, bias=False),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(288, 10),
    ).double()
    theirs = copy.deepcopy(ours)
    optimizer, other = LAMBC(ours.parameters(), lr=1e-3, **path, **options), make_peer(theirs.parameters(), 1e-3)
    for _ in range(10):
        images, labels = torch.randn(20, 3, 8, 8, dtype=torch.float64), torch.randint(10, (20,))
        for network, each in ((ours, optimizer), (theirs, other)):
            network.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            each.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
