"""Logs in which every ratio is 1, but for spikes of one step: at least one in each layer, and one in each step."""

from pathlib import Path

from lambc.experiments.wide_logs import Moment, Shapes, WideLog, mixture, transformer

SPIKE = 50.0

SHAPES: dict[int, Shapes] = {
    62: dict(list(transformer(5).items())[:62]),
    400: transformer(),
    1943: mixture(),
    10180: mixture(61, 56, 3),
}
STEPS = {62: 1000, 400: 1000, 1943: 600, 10180: 100}


def spikes(layers: int, steps: int) -> list[tuple[int, int]]:
    """Layer and step of each spike: as few as give each layer and each step one."""
    return [(number % layers, 1 + number * 37 % steps) for number in range(max(layers, steps))]


def build(root: Path, layers: int) -> Path:
    """The run `spikes`."""
    steps = STEPS[layers]
    planted = spikes(layers, steps)

    def plant(moment: Moment) -> None:
        moment.update[:] = moment.weight
        for layer, step in planted:
            if moment.steps[0] <= step <= moment.steps[-1]:
                moment.update[layer, step - moment.steps[0]] /= SPIKE

    WideLog(SHAPES[layers], steps, [plant]).write(root, "spikes")
    return root
