"""On PYTHONPATH, it makes every logger of a child say all that it can, whatever level anybody sets.

So the search for secrets reads more than any setting of an operator could bring into a log.
"""

import logging

# The stand-in's web server prints requests that it cannot read, whole. A real host has another one, which is not ours.
THE_HOSTS_OWN = "aiohttp.server"

_set_level = logging.Logger.setLevel


def _loud(self: logging.Logger, level: int | str) -> None:
    _set_level(self, level if self.name == THE_HOSTS_OWN else logging.DEBUG)


logging.Logger.setLevel = _loud  # type: ignore[method-assign]
