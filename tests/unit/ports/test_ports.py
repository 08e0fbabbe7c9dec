"""Values of the ports."""

from typing import Any, cast

from ports.blobs import CopySource
from ports.services import Ports
from rules.transfers.policies import Times
from tests.unit.samples import NOW, ROUTE


def test_a_route_is_found_by_its_name() -> None:
    none = cast("Any", None)
    ports = Ports(
        (ROUTE,), none, none, none, none, none, none, none, none, none, lambda: NOW, lambda: 0.0, Times(), "1"
    )
    assert ports.route("default") == ROUTE
    assert ports.route("gone") is None


def test_a_signed_url_is_not_in_the_repr_of_a_copy_source() -> None:
    assert "sig=" not in repr(CopySource("https://a/b?sig=secret"))
