"""What Composer's OptimizerMonitor asks of an optimizer: a layer's trust ratio, beside the norms that it shows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lambc.sharded import in_parts

if TYPE_CHECKING:
    from lambc.trust_ratios import TrustRatios

_METRICS = {
    "weight_norm": "l2_norm/param",
    "update_norm": "l2_norm/update",
    "trust_ratio": "trust_ratio",
    "clipped_ratio": "clipped_ratio",
}
"""The names of what is reported; of norms, those that Composer's own optimizers give them."""


class Reports:
    """The methods by which Composer's OptimizerMonitor logs the trust ratio of each layer, without further code.

    The first report is empty: it starts the recording. OptimizerMonitor waits for the device for each value that it
    logs; these methods do not.
    """

    param_groups: list[dict[str, Any]]
    register_trust_ratio_hook: Callable[..., Any]
    _record: "TrustRatios | None" = None
    _keeps_records = False
    _rows: tuple[int, dict[int, int]] = (0, {})  # the step of a record, and where in it the parameters are

    def report_per_parameter_metrics(
        self, param: Tensor, name: str, optimizer_metrics: dict[str, Any]
    ) -> dict[str, Any]:
        """Returns `optimizer_metrics` with those of the last step of `param`, under `name`."""
        if not self._keeps_records:
            self._keeps_records = True
            self.register_trust_ratio_hook(lambda record: setattr(self, "_record", record))
        record = self._record
        if record is None:
            return optimizer_metrics
        if self._rows[0] != record.step:
            params = (id(each) for group in self.param_groups for each in group["params"])
            self._rows = record.step, {each: row for row, each in enumerate(params)}
        row = self._rows[1].get(id(param), len(record.layers))
        if row < len(record.layers):
            optimizer_metrics |= {f"{of}/{name}": getattr(record, field)[row] for field, of in _METRICS.items()}
        return optimizer_metrics

    def pre_reduce_metrics(self, optimizer_metrics: dict[str, Any]) -> dict[str, Any]:
        """Returns the metrics as they are: ours are of whole layers on every rank."""
        return optimizer_metrics

    def dist_reduce_metrics(self, optimizer_metrics: dict[str, Any]) -> dict[str, Any]:
        """Returns the metrics with DTensors made whole: the norms of gradients, which the monitor takes itself."""
        return {name: value.full_tensor() if in_parts(value) else value for name, value in optimizer_metrics.items()}
