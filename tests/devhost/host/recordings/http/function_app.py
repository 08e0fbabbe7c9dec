"""HTTP functions of every shape, which show how the host treats a request."""

# ruff: noqa: ARG001  # the host gives every function its request
# mypy: disable-error-code="untyped-decorator"
# The SDK's decorators have no types.

import json

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
SHOWN = ("content-type", "content-length", "x-custom", "host", "if-none-match", "x-forwarded-for", "accept")


def seen(req: func.HttpRequest, name: str, status: int = 200) -> func.HttpResponse:
    """Show what arrived."""
    body = req.get_body() or b""
    found = {
        "function": name,
        "method": req.method,
        "url": req.url,
        "params": dict(req.params),
        "route_params": dict(req.route_params),
        "headers": {key: value for key, value in req.headers.items() if key.lower() in SHOWN},
        "length": len(body),
        "body": body[:60].decode("utf-8", "replace"),
    }
    text = json.dumps(found, ensure_ascii=False)
    return func.HttpResponse(text, status_code=status, mimetype="application/json")


@app.route(route="items", methods=["GET"])
def items_list(req: func.HttpRequest) -> func.HttpResponse:
    """GET of a collection."""
    return seen(req, "items_list")


@app.route(route="items", methods=["POST"])
def items_create(req: func.HttpRequest) -> func.HttpResponse:
    """The same route, another method."""
    return seen(req, "items_create", 202)


@app.route(route="items/replay", methods=["POST"])
def items_replay_many(req: func.HttpRequest) -> func.HttpResponse:
    """A literal where others have a parameter."""
    return seen(req, "items_replay_many")


@app.route(route="items/{id}", methods=["GET"])
def item_get(req: func.HttpRequest) -> func.HttpResponse:
    """A parameter."""
    return seen(req, "item_get")


@app.route(route="items/{id}", methods=["DELETE"])
async def item_delete(req: func.HttpRequest) -> func.HttpResponse:
    """The same parameter, another method."""
    return seen(req, "item_delete")


@app.route(route="items/{id}/replay", methods=["POST"])
def item_replay(req: func.HttpRequest) -> func.HttpResponse:
    """A literal behind a parameter."""
    return seen(req, "item_replay")


@app.route(route="hex/{id:length(32)}", methods=["GET"])
def hex_get(req: func.HttpRequest) -> func.HttpResponse:
    """A parameter with a constraint."""
    return seen(req, "hex_get")


@app.route(route="files/{*path}", methods=["GET", "HEAD"])
def files(req: func.HttpRequest) -> func.HttpResponse:
    """A parameter that takes the rest of the path."""
    return seen(req, "files")


@app.route(route="opt/{name?}")
def opt(req: func.HttpRequest) -> func.HttpResponse:
    """A parameter that may be left out."""
    return seen(req, "opt")


@app.route()
def no_route(req: func.HttpRequest) -> func.HttpResponse:
    """The function's name is the route."""
    return seen(req, "no_route")


@app.route(route="raises")
def raises(req: func.HttpRequest) -> func.HttpResponse:
    """Fail."""
    raise ValueError("a secret detail")


@app.route(route="bad_json", methods=["POST"])
def bad_json(req: func.HttpRequest) -> func.HttpResponse:
    """Read JSON."""
    return func.HttpResponse(json.dumps(req.get_json()))


@app.route(route="returns_str")
def returns_str(req: func.HttpRequest) -> str:
    """Return text."""
    return "täxt"


@app.route(route="returns_none")
def returns_none(req: func.HttpRequest) -> func.HttpResponse:
    """Return nothing."""
    return None  # type: ignore[return-value]  # the mistake is the point


@app.route(route="headers")
def headers(req: func.HttpRequest) -> func.HttpResponse:
    """Set headers."""
    own = {
        "ETag": '"v1"',
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Location": "/api/items/1",
        "Retry-After": "5",
    }
    return func.HttpResponse("{}", headers=own, mimetype="application/problem+json", charset="utf-8")


@app.route(route="s304")
def s304(req: func.HttpRequest) -> func.HttpResponse:
    """Not modified."""
    return func.HttpResponse(status_code=304, headers={"ETag": '"v1"'})


@app.route(route="s204")
def s204(req: func.HttpRequest) -> func.HttpResponse:
    """No content."""
    return func.HttpResponse(status_code=204)


@app.route(route="binary")
def binary(req: func.HttpRequest) -> func.HttpResponse:
    """Every byte."""
    return func.HttpResponse(bytes(range(256)), mimetype="application/octet-stream")


@app.route(route="large")
def large(req: func.HttpRequest) -> func.HttpResponse:
    """5 MB."""
    return func.HttpResponse("x" * 5_000_000)


@app.route(route="keyed", auth_level=func.AuthLevel.FUNCTION)
def keyed(req: func.HttpRequest) -> func.HttpResponse:
    """Ask for a function key."""
    return seen(req, "keyed")


@app.route(route="admin_only", auth_level=func.AuthLevel.ADMIN)
def admin_only(req: func.HttpRequest) -> func.HttpResponse:
    """Ask for the master key, on a route that no host accepts."""
    return seen(req, "admin_only")
