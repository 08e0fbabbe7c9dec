"""Log lines: one JSON object each, with a stable `action` beside the prose, safe against line breaks in names."""

import json
import logging
from typing import Any

LOGGER = logging.getLogger("blob_data_sharing")


def log(action: str, prose: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Say what happened. `action` never changes once it is released: alerts and queries rest on it (docs/operating.md)."""
    LOGGER.log(level, "%s", json.dumps({"action": action, "text": prose, **fields}, default=str))
