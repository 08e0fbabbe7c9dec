"""Route templates, as measured on the real host."""

import pytest

from devhost.host.web import Route, RouteError, clean_path


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("items", "/ITEMS/", {}),
        ("items", "//items", None),
        ("items/{id}", "/items/a%2Fb", {"id": "a%2Fb"}),
        ("items/{id}", "/items/%E2%82%AC%20+%25", {"id": "€ +%"}),
        ("items/{id}", "/items", None),
        ("hex/{id:length(4)}", "/hex/abcd", {"id": "abcd"}),
        ("hex/{id:length(4)}", "/hex/abc", None),
        ("files/{*path}", "/files/a/b", {"path": "a/b"}),
        ("files/{*path}", "/files/", {}),
        ("opt/{name?}", "/opt", {}),
    ],
)
def test_a_path_fits_a_template_or_not(template: str, path: str, values: dict[str, str] | None) -> None:
    """Parameters are decoded, all but the slash."""
    assert Route.of(template).match(path) == values


def test_literals_precede_constraints_parameters_and_catch_alls() -> None:
    """The order in which routes are tried."""
    templates = ["{*all}", "{id}", "{id:length(4)}", "items"]
    assert sorted(templates, key=lambda text: Route.of(text).rank) == templates[::-1]


@pytest.mark.parametrize("template", ["a-{id}", "{id:int}", "{id:length(x)}"])
def test_a_template_that_cannot_be_read_is_refused_when_it_is_loaded(template: str) -> None:
    """Not in the first request."""
    with pytest.raises(RouteError):
        Route.of(template)


@pytest.mark.parametrize(
    ("raw", "clean"), [("/a/../b", "/b"), ("/a/%2e%2E/b", "/b"), ("/a/./b", "/a/b"), ("/..", "/"), ("/a.b", "/a.b")]
)
def test_dots_are_resolved_before_routing(raw: str, clean: str) -> None:
    """Encoded ones too."""
    assert clean_path(raw) == clean
