"""A decorator for tests that show one fact about Azure Storage. `make docs` builds docs/service-answers.md from its arguments."""

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def fact(request: str, answer: str, source: str) -> Callable[[F], F]:
    """Record the request, Azure's answer, and the source of the recording. The test itself does not change."""
    if not all((request, answer, source)):
        raise ValueError("a fact has a request, an answer and a source")
    return lambda test: test
