"""The daily budget of routes."""

from collections.abc import Iterable
from dataclasses import replace

from operations.figures.query import read_figures
from ports.services import Ports
from rules.figures.view import is_over_budget
from rules.routes.model import Route

# How old the figures may be that decide on an event, so that most events cost no request.
SECONDS = 15.0


async def current_routes(ports: Ports, routes: Iterable[Route] | None = None) -> tuple[Route, ...]:
    """Return the routes, all by default, with `over_budget` set where it holds. Only routes with a budget cost a request."""
    return tuple([await _current(ports, route) for route in (ports.routes if routes is None else routes)])


async def _current(ports: Ports, route: Route) -> Route:
    if route.daily_bytes is None:
        return route
    figures = await read_figures(ports, route.name, SECONDS)
    return replace(route, over_budget=is_over_budget(route, figures, ports.now()))
