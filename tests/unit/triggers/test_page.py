"""The files of the dashboard: only those, unchanged libraries, cached by the browser, under a strict policy."""

import gzip
import hashlib
import json
import re

import azure.functions as func
import pytest

import dashboard
from tests.unit.triggers.api import Api
from tests.unit.world import World
from triggers.http.page import POLICY

FILES = dashboard.files()
VENDORED = json.loads((dashboard.FOLDER / "vendored.json").read_text())
# Names that must not reach anything: paths, other files of the package, files of the app.
OUTSIDE = [
    "",
    ".",
    "..",
    "../settings.py",
    "..%2fsettings.py",
    "/etc/passwd",
    "__init__.py",
    "vendored.json",
    "STYLE.CSS",
]
MAX_COMPRESSED = 100_000


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_served_anonymously_without_touching_storage(world: World, api: Api, name: str) -> None:
    answer = await api.call("dashboard_file", name)
    assert (answer.status, answer.text.encode()) == (200, FILES[name].body)
    assert answer.mimetype == FILES[name].media_type
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert world.requests == []


async def test_the_page_is_index_html(api: Api) -> None:
    answer = await api.call("dashboard")
    assert (answer.status, answer.mimetype, answer.text.encode()) == (200, "text/html", FILES["index.html"].body)


async def test_a_slash_at_the_end_is_redirected(api: Api) -> None:
    """The page's references are relative to a URL without one."""
    answer = await api.call("dashboard", None, b"", "/")
    assert (answer.status, answer.headers["Location"], answer.text) == (308, "../dashboard", "")


@pytest.mark.parametrize("name", OUTSIDE)
async def test_no_other_file_is_served(api: Api, name: str) -> None:
    assert (await api.call("dashboard_file", name)).status == 404


@pytest.mark.parametrize("sent", ["{etag}", '"other", {etag}', "{strong}"])
async def test_a_browser_that_has_the_file_gets_304(api: Api, sent: str) -> None:
    etag = FILES["app.js"].etag
    sent = sent.format(etag=etag, strong=etag.removeprefix("W/"))
    answer = await api.call("dashboard_file", "app.js", b"", "", {"if-none-match": sent})
    assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", etag)
    changed = await api.call("dashboard_file", "app.js", b"", "", {"if-none-match": FILES["api.js"].etag})
    assert changed.status == 200


async def test_a_file_with_a_version_is_kept_and_any_other_is_checked_each_time(api: Api) -> None:
    for name in FILES:
        cached = (await api.call("dashboard_file", name)).headers["Cache-Control"]
        assert ("immutable" in cached) is (name in VENDORED)
        assert ("no-cache" in cached) is (name not in VENDORED)


async def test_a_file_is_compressed_for_a_browser_that_accepts_it() -> None:
    function = Api(World()).functions["dashboard_file"].get_user_function().client_function
    request = func.HttpRequest(
        method="GET",
        url="http://localhost/api/dashboard/app.js",
        headers={"accept-encoding": "gzip, br"},
        route_params={"file": "app.js"},
        body=b"",
    )
    answer = await function(req=request, client="client")
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(answer.get_body()) == FILES["app.js"].body


def test_all_files_are_small() -> None:
    assert sum(len(file.gzipped) for file in FILES.values()) <= MAX_COMPRESSED


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    sources = {word for part in POLICY.split("; ") for word in part.split()[1:]}
    assert sources == {"'none'", "'self'"}
    page = FILES["index.html"].body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert re.findall(r"<script(?![^>]*\ssrc=)", page) == []
    assert {url for url in re.findall(r'(?:src|href)="([^"]*)"', page) if not url.startswith("dashboard/")} == set()


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js") and name not in VENDORED])
def test_no_module_makes_html_or_code_of_text(name: str) -> None:
    code = FILES[name].body.decode()
    found = re.findall(
        r"innerHTML\s*[=:]|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage", code
    )
    assert found == []
    imported = set(re.findall(r'from "\./([^"]+)"', code))
    assert imported <= set(FILES)


def test_each_library_is_unchanged_from_its_package() -> None:
    """Its recorded hash is that of the file in the npm package, before the recorded replacements."""
    licences = FILES["licences.txt"].body.decode()
    for name, record in VENDORED.items():
        body = (dashboard.FOLDER / name).read_bytes()
        for original, ours in record.get("replaced", {}).items():
            assert body.count(ours.encode()) == 1
            body = body.replace(ours.encode(), original.encode())
        assert hashlib.sha256(body).hexdigest() == record["sha256"], name
        assert record["licence"] in {"MIT", "Apache-2.0"}
        assert f"\n{record['package']} {record['version']}\n" in licences
    libraries = {name for name in FILES if re.search(r"\d\.\d", name)}
    assert libraries == set(VENDORED)
