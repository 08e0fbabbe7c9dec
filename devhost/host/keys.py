"""Function keys: none is required by default; with `DEVHOST_KEYS=1` the host requires them, as Azure does."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from aiohttp import web


@dataclass(frozen=True)
class Keys:
    """The keys of a function app. Without `required` every request is admitted, as under `func start`."""

    master: str
    function: str
    system: str
    required: bool

    @classmethod
    def load(cls, path: Path, *, required: bool) -> Self:
        """Read the keys of a state folder, or make them."""
        if not path.exists():
            made = {name: secrets.token_urlsafe(40) for name in ("master", "function", "system")}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(json.dumps(made, indent=1))
        return cls(**json.loads(path.read_text()), required=required)

    def admits(self, request: web.Request, level: str) -> bool:
        """Whether the request has a key for the level ANONYMOUS, FUNCTION, ADMIN or SYSTEM."""
        given = request.headers.get("x-functions-key") or request.query.get("code", "")
        keys = {"FUNCTION": (self.function, self.master), "SYSTEM": (self.system, self.master)}
        allowed = keys.get(level.upper(), (self.master,))
        return (
            not self.required
            or level.upper() == "ANONYMOUS"
            or any(secrets.compare_digest(given.encode(), key.encode()) for key in allowed)
        )

    def names(self) -> dict[str, str]:
        """Return the keys by name."""
        return {name: key for name, key in asdict(self).items() if name != "required"}
