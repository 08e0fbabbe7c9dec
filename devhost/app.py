"""A check of whether the app answers behind its host, with the host's errors if it does not."""

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from devhost.storage.config import HOST

HEALTH = "/api/health"
START_SECONDS = 120.0
# The first call may load the app. If the host ends in the meantime, the connection closes.
CALL_SECONDS = 60.0
# A host may report an error for this long before it counts as failed, because it retries automatically.
BROKEN_SECONDS = 10.0
KEYS = re.compile(r"(?i)((?:AccountKey|SharedAccessSignature|sig|code)=)[^;&\s\"']+")


@dataclass(frozen=True, slots=True)
class App:
    """The app on a port of this machine. `secret` is removed from all messages."""

    port: int
    secret: str

    def answers(self, seconds: float = CALL_SECONDS) -> bool:
        """Whether the app itself answers; its health may still report a problem."""
        return _is_health(*self._get(HEALTH, seconds))

    def problem(self, has_ended: Callable[[], bool]) -> str | None:
        """Wait until the app answers, and return None. If it does not, return a message with the cause."""
        end, broken = time.monotonic() + START_SECONDS, float("inf")
        while True:
            status, body = self._get(HEALTH, min(CALL_SECONDS, max(1.0, end - time.monotonic())))
            if _is_health(status, body):
                return None
            if has_ended():
                return "the host did not start; see its output above"
            broken = min(broken, time.monotonic()) if self._is_broken(status) else float("inf")
            if time.monotonic() > min(end, broken + BROKEN_SECONDS):
                return "\n  ".join([f"the app does not answer at http://{HOST}:{self.port}{HEALTH}", *self._errors()])
            time.sleep(0.1)

    def _is_broken(self, status: int) -> bool:
        """Whether the host failed to start, or runs without this function. Otherwise it is still starting."""
        state = self._state().get("state")
        return state == "Error" or (state == "Running" and status == HTTPStatus.NOT_FOUND)

    def _state(self) -> dict[str, Any]:
        return _dict(self._admin("host/status"))

    def _errors(self) -> Iterator[str]:
        """Yield the host's own errors, then those of each function, without keys."""
        state, functions = self._state(), self._admin("functions")
        if state.get("state") == "Error":
            yield "the host is in state Error"
        yield from (f"host error: {self._plain(error)}" for error in state.get("errors") or ())
        if functions == []:
            yield "the host found no functions: one function that does not load, or an invalid host.json, disables all of them"
        for function in functions if isinstance(functions, list) else ():
            name = str(_dict(function).get("name"))
            errors = _dict(self._admin(f"functions/{quote(name)}/status")).get("errors")
            yield from (f"function {name}: {self._plain(error)}" for error in errors or ())
        yield "see the host's output for details"

    def _admin(self, path: str) -> Any:
        return self._get(f"/admin/{path}", CALL_SECONDS)[1]

    def _get(self, path: str, seconds: float) -> tuple[int, Any]:
        """Return the status, or 0 without an answer, and the JSON, or None."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=seconds)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException):
            return 0, None
        except ValueError:
            return response.status, None
        finally:
            connection.close()

    def _plain(self, error: object) -> str:
        return KEYS.sub(r"\1REMOVED", " ".join(str(error).replace(self.secret, "REMOVED").split()))


def _is_health(status: int, body: Any) -> bool:
    """Whether the app sent this response. A 503 may come from the host, so the body decides."""
    return (
        status in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE} and {"up", "checks", "version"} <= _dict(body).keys()
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
