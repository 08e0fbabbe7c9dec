"""The picture in the README shows what infra/ makes, all of it and no more, and its PNG is drawn from its SVG."""

from collections.abc import Callable
from xml.etree import ElementTree as ET

from tests.docs import picture
from tests.docs.pages import page
from tests.infra.snapshots import NAMES, Snapshot

Taken = Callable[[str], Snapshot]
SVG = picture.SOURCE.read_text()
ALERTS = "Microsoft.Insights/scheduledQueryRules"
CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
QUEUES = "Microsoft.Storage/storageAccounts/queueServices/queues"


def made(taken: Snapshot) -> set[str]:
    """The types of what a deployment makes."""
    return {each["type"] for each in taken.resources}


def test_everything_that_is_made_is_drawn_and_no_more(snapshot: Taken) -> None:
    """What is made by default; and, as an option, what is made if a parameter asks for it."""
    always = made(snapshot("default"))
    assert picture.types(SVG, optional=False) == always
    assert picture.types(SVG, optional=True) == set().union(*(made(snapshot(name)) for name in NAMES)) - always


def test_a_type_that_is_missing_is_found(snapshot: Taken) -> None:
    """A mistake of each kind: one is not drawn, one is drawn as if it were always made."""
    without = SVG.replace(' data-types="Microsoft.Web/serverfarms"', "")
    assert made(snapshot("default")) - picture.types(without, optional=False) == {"Microsoft.Web/serverfarms"}
    assert picture.types(SVG.replace('class="option"', ""), optional=True) == set()


def test_every_container_and_queue_can_be_read_in_it(snapshot: Taken) -> None:
    """By its name."""
    default = snapshot("default")
    there = {each["name"].rpartition("/")[2] for kind in (CONTAINERS, QUEUES) for each in default.of(kind)}
    assert picture.names(SVG) == there


def test_its_numbers_are_those_of_the_default(snapshot: Taken) -> None:
    """How many alerts, how many instances at most, which Python."""
    default = snapshot("default")
    app = default.one("Microsoft.Web/sites")["properties"]["functionAppConfig"]
    alerts = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[len(default.of(ALERTS))]
    assert f">{alerts} alerts<" in SVG
    assert f" {alerts} alerts," in page("README.md")
    assert f">up to {app['scaleAndConcurrency']['maximumInstanceCount']} instances<" in SVG
    assert f">Python {app['runtime']['version']}<" in SVG


def test_the_png_is_drawn_from_the_svg() -> None:
    """Its stamp is that of the source; another source has another."""
    png, source = picture.DRAWN.read_bytes(), picture.SOURCE.read_bytes()
    assert png.startswith(picture.HEAD)
    assert picture.stamp_of(png) == picture.stamp(source), "run `make picture`"
    assert picture.stamp_of(png) != picture.stamp(source + b"\n")
    assert picture.stamp_of(b"".join([png[:33], png[-12:]])) is None


def test_it_needs_nothing_from_elsewhere() -> None:
    """GitHub shows it as an image: no script, no font, no address but its namespace; and a background of its own."""
    root = ET.fromstring(SVG)  # noqa: S314  # our own file
    assert [each.tag for each in root.iter() if each.tag.endswith(("script", "image", "foreignObject"))] == []
    assert SVG.count("http") == 1
    assert "@font-face" not in SVG
    background = root.find(f"{picture.SVG}rect")
    assert background is not None
    assert (background.get("width"), background.get("height")) == (root.get("width"), root.get("height"))


def test_the_readme_shows_it() -> None:
    """It is the one picture of the whole."""
    assert "](docs/architecture.svg)" in page("README.md")
