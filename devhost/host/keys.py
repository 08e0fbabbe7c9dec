"""Function keys. `func start` asks for none; with `DEVHOST_KEYS=1` the host asks as Azure does."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from aiohttp import web


@dataclass(frozen=True)
class Keys:
    """The three keys of a function app. `asked` says whether anybody needs one."""

    master: str
    function: str
    system: str
    asked: bool

    @classmethod
    def load(cls, path: Path, *, asked: bool) -> Self:
        """The keys of this state folder, made once: they stay the same over restarts."""
        if not path.exists():
            made = {name: secrets.token_urlsafe(40) for name in ("master", "function", "system")}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(json.dumps(made, indent=1))
        return cls(**json.loads(path.read_text()), asked=asked)

    def admits(self, request: web.Request, level: str) -> bool:
        """Whether the request may call what asks for `level`: ANONYMOUS, FUNCTION, ADMIN or SYSTEM."""
        given = request.headers.get("x-functions-key") or request.query.get("code", "")
        keys = {"FUNCTION": (self.function, self.master), "SYSTEM": (self.system, self.master)}
        allowed = keys.get(level.upper(), (self.master,))
        # Compared in constant time although it is only a stand-in: it costs nothing.
        return (
            not self.asked
            or level.upper() == "ANONYMOUS"
            or any(secrets.compare_digest(given.encode(), key.encode()) for key in allowed)
        )

    def names(self) -> dict[str, str]:
        """The keys by name."""
        return {name: key for name, key in asdict(self).items() if name != "asked"}
