"""The names of operations."""

import pytest

from devhost.storage.operations import operation, source_of

BLOB = "/account/box/a%20b"
FROM = {"x-ms-copy-source": "http://127.0.0.1/account/box/other"}


@pytest.mark.parametrize(
    ("method", "target", "headers", "name"),
    [
        ("GET", "/account?comp=list", {}, "ListContainers"),
        ("GET", "/account/box?restype=container&comp=list", {}, "ListBlobs"),
        ("PUT", "/account/box?restype=container", {}, "CreateContainer"),
        ("HEAD", BLOB, {}, "HeadBlob"),
        ("GET", f"{BLOB}?snapshot=1", {}, "GetBlob"),
        ("PUT", f"{BLOB}?sig=x", {}, "PutBlob"),
        ("PUT", f"{BLOB}?comp=block&blockid=1", {}, "PutBlock"),
        ("PUT", f"{BLOB}?comp=block&blockid=1", FROM, "PutBlockFromUrl"),
        ("PUT", f"{BLOB}?COMP=blocklist", {}, "PutBlockList"),
        ("PUT", BLOB, FROM, "CopyBlob"),
        ("PUT", BLOB, {**FROM, "x-ms-requires-sync": "true"}, "CopyBlobFromUrl"),
        ("PUT", BLOB, {**FROM, "x-ms-blob-type": "BlockBlob"}, "PutBlobFromUrl"),
        ("PUT", f"{BLOB}?comp=copy&copyid=1", {}, "AbortCopy"),
        ("DELETE", BLOB, {}, "DeleteBlob"),
        ("OPTIONS", BLOB, {}, "OPTIONS"),
        ("PUT", f"{BLOB}?comp=new", {}, "PUT new"),
        ("PUT", f"{BLOB}?resource=file", {}, "CreateFile"),
        ("PUT", f"{BLOB}?resource=directory", {}, "CreateDirectory"),
        ("PUT", f"{BLOB}?mode=legacy", {"x-ms-rename-source": "/box/a"}, "RenamePath"),
        ("PATCH", f"{BLOB}?action=append&position=0", {}, "AppendFile"),
        ("PATCH", f"{BLOB}?action=flush&position=0", {}, "FlushFile"),
        ("PATCH", f"{BLOB}?action=setAccessControl", {}, "PATCH"),
        ("DELETE", f"{BLOB}?recursive=true", {}, "DeletePath"),
        ("HEAD", f"{BLOB}?action=getStatus", {}, "HeadBlob"),
    ],
)
def test_name(method: str, target: str, headers: dict[str, str], name: str) -> None:
    """An unknown operation keeps its method, and counts as a write unless it reads."""
    assert operation(method, target, headers).name == name


@pytest.mark.parametrize(
    ("path", "blob"),
    [("a%20b", "a b"), ("a%2Fb", "a/b"), ("%2e%2e/x", "../x"), ("/a//", "/a//"), ("a%5Cb", "a/b"), ("%zz", "%zz")],
)
def test_blob_name(path: str, blob: str) -> None:
    """It is decoded once; Azurite makes a slash of a backslash."""
    assert operation("GET", f"/account/box/{path}", {}).key == ("account", "box", blob)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://h:1/account/box/a%20b?sig=x", ("/account/box/a%20b", "")),
        ("http://h/account/box/b?sig=x&snapshot=2026", ("/account/box/b", "snapshot=2026")),
        ("nonsense", ("/", "")),
        ("http://[", ("/", "")),
    ],
)
def test_source(url: str, parts: tuple[str, str]) -> None:
    """No value of the source header raises an exception."""
    assert source_of(url) == parts
