"""On PYTHONPATH, this module sets every logger of a child process to DEBUG, regardless of its configured level.

The search for secrets then covers more than any log setting of an operator could produce.
"""

import logging

# At DEBUG the stand-in's web server logs invalid requests in full. A real host uses a different server.
HOST_LOGGER = "aiohttp.server"

_set_level = logging.Logger.setLevel


def _loud(self: logging.Logger, level: int | str) -> None:
    _set_level(self, level if self.name == HOST_LOGGER else logging.DEBUG)


logging.Logger.setLevel = _loud  # type: ignore[method-assign]
