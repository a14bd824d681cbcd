"""How a LAMB step is computed: every path has one signature, and gives what `lambc.rule` says.

    step(layers, group, lower, upper) -> ratios

updates moments and parameters in place, and returns ‖w‖, ‖update‖ and the trust ratio before and after clipping as a
tensor of shape [4, layers]. `group` is the parameter group, which holds the options under the names that the optimizer
gives them; `lower` and `upper` have shape [layers], and the parameters' dtype and device.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers of one group that take a step together: one device, one dtype (float32 or float64).

    steps: t of each layer, this step included; a number, on the host.
    """

    params: list[Tensor]
    grads: list[Tensor]
    exp_avgs: list[Tensor]
    exp_avg_sqs: list[Tensor]
    steps: list[float]

    def bias_corrections(self, group: dict) -> tuple[list[float], list[float]]:
        """1 - β1^t and 1 - β2^t of each layer (Algorithm 1, lines 9 and 10, with the exponent that it leaves out)."""
        if not group["bias_correction"]:
            return [1.0] * len(self.steps), [1.0] * len(self.steps)
        beta1, beta2 = group["betas"]
        return [1 - beta1**step for step in self.steps], [1 - beta2**step for step in self.steps]
