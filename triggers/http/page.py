"""The answers with files: those of the dashboard, and the description of the API.

They are anonymous, so they read nothing of the request but its headers.
"""

import azure.functions as func

import dashboard
from operations.problems import NotFound

# Nothing is loaded from elsewhere, nothing is inline, no form is sent, and no other site can frame the page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}
FOREVER, ALWAYS_ASK = "public, max-age=31536000, immutable", "no-cache"


def page_answer(req: func.HttpRequest) -> func.HttpResponse:
    """Return the page. With a slash at the end of its URL, the page would look for its files one level too deep."""
    if req.url.partition("?")[0].endswith("/"):
        return func.HttpResponse(status_code=308, headers={**HEADERS, "Location": "../dashboard"})
    return file_answer(req, dashboard.PAGE)


def file_answer(req: func.HttpRequest, name: str) -> func.HttpResponse:
    """Return a file of the page, or 304 if the browser has it.

    Raises:
        NotFound: the page has no such file.
    """
    file = dashboard.files().get(name)
    if file is None:
        raise NotFound("the dashboard has no such file", "Open GET /api/dashboard.")
    return _answer(req, file)


def description_answer(req: func.HttpRequest) -> func.HttpResponse:
    """Return the description of the API, or 304 if the caller has it."""
    return _answer(req, dashboard.description())


def _answer(req: func.HttpRequest, file: dashboard.File) -> func.HttpResponse:
    headers = {**HEADERS, "ETag": file.etag, "Cache-Control": FOREVER if file.forever else ALWAYS_ASK}
    if _has_current(req.headers.get("if-none-match", ""), file.etag):
        return func.HttpResponse(status_code=304, headers=headers)
    if "gzip" in req.headers.get("accept-encoding", ""):
        return _file(file, file.gzipped, {**headers, "Content-Encoding": "gzip"})
    return _file(file, file.body, headers)


def _file(file: dashboard.File, body: bytes, headers: dict[str, str]) -> func.HttpResponse:
    return func.HttpResponse(body, mimetype=file.media_type, charset="utf-8", headers=headers)


def _has_current(sent: str, etag: str) -> bool:
    return etag.removeprefix("W/") in {one.strip().removeprefix("W/") for one in sent.split(",")}
