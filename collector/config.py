"""What a run is about, as run.json can say it."""

from typing import Any


def plain_config(config: Any) -> dict[str, Any]:
    """Returns `config` as a dict."""
    return dict(config)
