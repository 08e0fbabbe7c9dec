"""A mark for tests that show one fact about Azure Storage. `make docs` makes the page of facts from the marks."""

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def fact(request: str, answer: str, source: str) -> Callable[[F], F]:
    """Say which request the test is about, what Azure answers to it, and where that was recorded. It changes no test."""
    if not all((request, answer, source)):
        raise ValueError("a fact has a request, an answer and a source")
    return lambda test: test
