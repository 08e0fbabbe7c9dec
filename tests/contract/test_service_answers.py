"""Facts about the answers of Azure Storage, which the local stack gives too. Each test names its source.

BOR: borink-org/object-storage, recorded fixtures of September 2026 (`docs/AZURE-TESTING.md`). PY22, PY19: recordings of
Azure/azure-sdk-for-python. ASP: of Azure/azure-storage-python (2019). CPP: of Azure/azure-sdk-for-cpp (2021). NET: of
Azure/azure-sdk-for-net. JSD, JST: recordings and live tests of Azure/azure-sdk-for-js. [doc]: a page of Microsoft's documentation.
#: an issue of a repository. [sdk]: code of an SDK that handles this answer.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4
from xml.etree import ElementTree as ET

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContentSettings,
    ResourceTypes,
    StandardBlobTier,
    generate_account_sas,
    generate_blob_sas,
)

from devhost.storage.config import KEY
from devhost.storage.testing import Stack
from tests.contract.facts import fact
from tests.contract.helpers import everything
from tests.contract.worlds import InStorage

BOM = "\ufeff"
OLDER, NEWER = "2023-11-03", "2024-02-04"
EVERYTHING = AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True, tag=True)


@dataclass(frozen=True)
class Answer:
    """A response as it is on the wire."""

    status: int
    reason: str
    headers: dict[str, str]
    text: str

    @property
    def xml(self) -> ET.Element:
        """The parsed body."""
        return ET.fromstring(self.text.removeprefix(BOM))  # noqa: S314  # from the local stack

    @property
    def code(self) -> str:
        """The error code."""
        return self.headers.get("x-ms-error-code", "")


class Wire:
    """Raw requests without an SDK, and the SDK's clients for the setup."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.test = uuid4().hex[:8]
        self.accounts = {
            name: BlobServiceClient(stack.blob_url(name), KEY, retry_total=0)
            for name in ("sharingsource", "sharingtarget")
        }

    def source(self, name: str = "blob") -> BlobClient:
        """Return a blob of the source account."""
        return self.accounts["sharingsource"].get_blob_client("source", f"{self.test}/{name}")

    def target(self, name: str = "blob") -> BlobClient:
        """Return a blob of the target account."""
        return self.accounts["sharingtarget"].get_blob_client("target", f"{self.test}/{name}")

    def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: dict[str, str] | None = None,
        *,
        token: bool = True,
        body: bytes | None = None,
    ) -> Answer:
        """Send a request, with a SAS that allows everything or without one."""
        account = path.split("/")[1]
        kinds = ResourceTypes(service=True, container=True, object=True)
        sas = generate_account_sas(account, KEY, kinds, EVERYTHING, datetime.now(UTC) + timedelta(hours=1))
        connection = HTTPConnection("127.0.0.1", self.stack.blob_port, timeout=30)
        parts = [part for part in (query, sas if token else "") if part]
        length = {} if method in {"GET", "HEAD"} else {"Content-Length": "0"}
        connection.request(method, f"{path}?{'&'.join(parts)}", body, length | (headers or {}))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return Answer(answer.status, answer.reason, dict(answer.getheaders()), text)

    def put(self, blob: BlobClient, query: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        """Send a PUT with a body."""
        length = {"Content-Length": str(len(body))}
        return self.ask("PUT", urlsplit(blob.url).path, query, length | (headers or {}), body=body)

    def listed(self, query: str = "") -> Answer:
        """List the blobs of this test."""
        return self.ask("GET", "/sharingsource/source", f"restype=container&comp=list&prefix={self.test}/&{query}")

    def url(self, blob: BlobClient, permission: str = "r", hours: float = 1) -> str:
        """Return the URL of a source with a SAS."""
        sas = generate_blob_sas(
            str(blob.account_name),
            blob.container_name,
            blob.blob_name,
            account_key=KEY,
            permission=BlobSasPermissions.from_string(permission),
            start=datetime.now(UTC) - timedelta(days=1),
            expiry=datetime.now(UTC) + timedelta(hours=hours),
        )
        return f"{blob.url}?{sas}"

    def copy(
        self, source: str, *, sync: bool, version: str = NEWER, target: BlobClient | None = None, **headers: str
    ) -> Answer:
        """Send a request to copy."""
        path = urlsplit((target or self.target()).url).path
        all_headers = {"x-ms-copy-source": source, "x-ms-version": version} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.ask("PUT", path, "", all_headers | ({"x-ms-requires-sync": "true"} if sync else {}))


@pytest.fixture
def wire(stack: Stack) -> Iterator[Wire]:
    """The stack, with copies that end immediately."""
    stack.control.copies(hold=False)
    yield Wire(stack)
    stack.control.remove_faults()


BOTH = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


class TestLists:
    """List Blobs."""

    @fact(
        "List Blobs",
        "`<Metadata />` for a blob without metadata, on request; `<OrMetadata />` always",
        "CPP ListBlobsOtherStuff",
    )
    def test_every_blob_has_metadata_on_request_and_or_metadata_always(self, wire: Wire) -> None:
        wire.source("with").upload_blob(b"1", metadata={"a": "b"})
        wire.source("without").upload_blob(b"1")
        with_metadata, without = wire.listed("include=metadata").text, wire.listed().text
        assert (with_metadata.count("<Metadata />"), with_metadata.count("<Metadata><a>b</a></Metadata>")) == (1, 1)
        assert "Metadata>" not in without.replace("OrMetadata", "")
        assert "<Metadata" not in without
        assert with_metadata.count("<OrMetadata />") == without.count("<OrMetadata />") == 2

    @fact(
        "List Blobs",
        "the elements of a blob have a fixed order, and those without a value are empty; the ETag has no quotes",
        "BOR, CPP, ASP",
    )
    def test_order_of_elements_and_empty_ones(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1", metadata={"a": "b"})
        (blob,) = wire.listed("include=metadata,copy").xml.iter("Blob")
        assert [element.tag for element in blob] == ["Name", "Properties", "Metadata", "OrMetadata"]
        properties = {element.tag: element.text for element in blob[1]}
        assert list(properties) == [
            "Creation-Time",
            "Last-Modified",
            "Etag",
            "Content-Length",
            "Content-Type",
            "Content-Encoding",
            "Content-Language",
            "Content-CRC64",
            "Content-MD5",
            "Cache-Control",
            "Content-Disposition",
            "BlobType",
            "AccessTier",
            "AccessTierInferred",
            "LeaseStatus",
            "LeaseState",
            "ServerEncrypted",
        ]
        assert str(properties["Etag"]).startswith("0x")
        empty = {name for name, text in properties.items() if text is None}
        assert empty == {
            "Content-Encoding",
            "Content-Language",
            "Content-CRC64",
            "Cache-Control",
            "Content-Disposition",
        }

    @fact("List Blobs", "append and page blobs have no access tier", "CPP")
    def test_append_and_page_blobs_have_no_tier(self, wire: Wire) -> None:
        wire.source("append").create_append_blob()
        wire.source("page").create_page_blob(512)
        assert "AccessTier" not in wire.listed().text
        assert [wire.source(name).get_blob_properties().blob_tier for name in ("append", "page")] == [None, None]

    @fact("List Blobs", "the elements of a copy only with `include=copy`", "ASP")
    def test_copy_elements_only_on_request(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1")
        wire.copy(wire.url(wire.source()), sync=True, target=wire.source("copy"))
        assert "Copy" not in wire.listed().text
        tags = re.findall(r"<(Copy\w+)>", wire.listed("include=copy").text)
        assert tags == ["CopyId", "CopySource", "CopyStatus", "CopyProgress", "CopyCompletionTime"]

    @fact("List Blobs", 'a name with U+FFFE or U+FFFF is percent-encoded as a whole, with `Encoded="true"`', "BOR")
    @pytest.mark.parametrize("character", ["\ufffe", "\uffff"])
    def test_a_name_that_xml_cannot_carry_is_encoded_whole(self, wire: Wire, character: str) -> None:
        blob = wire.source(f"a/{character} &")
        blob.upload_blob(b"1")
        encoded = quote(blob.blob_name, safe="")
        assert f'<Name Encoded="true">{encoded}</Name>' in wire.listed().text
        container = wire.accounts["sharingsource"].get_container_client("source")
        assert [found.name for found in container.list_blobs(f"{wire.test}/")] == [blob.blob_name]

    @fact(
        "List Blobs",
        "markers are opaque; `<NextMarker />` at the end; a parameter that was not sent is not echoed",
        "BOR",
    )
    def test_markers_are_opaque(self, wire: Wire) -> None:
        """The form is `2!<length>!<base64>`."""
        names = ["a", "b/ü", "c&d", "🎈"]
        for name in names:
            wire.source(name).upload_blob(b"1")
        found, marker, pages = list[str | None](), "", 0
        while pages == 0 or marker:
            page = wire.listed(f"maxresults=2&marker={quote(marker)}").xml
            found += [name.text for name in page.iter("Name")]
            marker, pages = page.findtext("NextMarker") or "", pages + 1
            assert not marker or re.fullmatch(r"2!\d+![A-Za-z0-9+_-]+", marker)
            assert (page.findtext("MaxResults"), page.find("Delimiter")) == ("2", None)
        assert (found, pages) == ([f"{wire.test}/{name}" for name in names], 2)
        assert "<NextMarker />" in (whole := wire.listed().text)
        assert "<MaxResults>" not in whole
        assert "<Marker" not in whole

    def test_a_marker_needs_a_valid_signature(self, wire: Wire) -> None:
        wire.source("a").upload_blob(b"1")
        wire.source("b").upload_blob(b"1")
        marker = wire.listed("maxresults=1").xml.findtext("NextMarker") or ""
        query = (
            f"restype=container&comp=list&marker={quote(marker)}&sv=2026-02-06&ss=b&srt=c&sp=l&se=2099-01-01&sig=AAAA"
        )
        assert wire.ask("GET", "/sharingsource/source", query, token=False).status == 403

    @fact("List Blobs", "a bad marker is 400 InvalidQueryParameterValue, a truncated one 400 InvalidInput", "BOR")
    @pytest.mark.parametrize(
        ("marker", "code"),
        [
            ("nonsense", "InvalidQueryParameterValue"),
            ("2!72!MDAw", "InvalidInput"),
            ("2!4!AAAA", "InvalidInput"),
        ],
    )
    def test_a_bad_marker_is_refused(self, wire: Wire, marker: str, code: str) -> None:
        answer = wire.listed(f"marker={quote(marker)}")
        assert (answer.status, answer.code) == (400, code)

    @fact("List Blobs", "`maxresults` over 5,000 is not refused", "BOR")
    def test_a_limit_over_5000_is_not_refused(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1")
        answer = wire.listed("maxresults=6000")
        assert (answer.status, answer.text.startswith(BOM)) == (200, True)

    async def test_the_app_lists_blobs_without_metadata(self, storage: InStorage) -> None:
        """The SDK returns None as their metadata."""
        for whole, side in ((storage.source_place, storage.source), (storage.target_place, storage.target)):
            place = replace(whole, prefix=f"{storage.test}/")
            await storage.put(place.blob("blob"), b"1")
            ((name, seen),) = await everything(side, place)
            assert seen == await side.head(replace(place.blob(""), name=name))


class TestErrors:
    """The form of an error."""

    @fact(
        "Any request",
        "an error is XML with a byte order mark, on one line, with the request's id and the time; the reason phrase is the message",
        "BOR, ASP",
    )
    def test_xml_with_a_byte_order_mark_on_one_line(self, wire: Wire) -> None:
        answer = wire.ask("GET", f"/sharingsource/source/{wire.test}/none")
        assert re.fullmatch(
            BOM + r'<\?xml version="1.0" encoding="utf-8"\?><Error><Code>BlobNotFound</Code><Message>'
            r"The specified blob does not exist\.\nRequestId:[0-9a-f-]{36}\nTime:[0-9T:.-]+Z</Message></Error>",
            answer.text,
        )
        assert (answer.status, answer.reason) == (404, "The specified blob does not exist.")
        assert answer.code == "BlobNotFound"

    @fact("Any request", "a failed HEAD has neither body nor Content-Length; the code is in the header", "CPP, ASP")
    @pytest.mark.parametrize("fault", [False, True])
    def test_a_head_has_no_body_and_no_length(self, wire: Wire, *, fault: bool) -> None:
        if fault:
            wire.stack.control.add_fault({"operation": "HeadBlob"}, {"status": 404, "code": "BlobNotFound"})
        answer = wire.ask("HEAD", f"/sharingsource/source/{wire.test}/none")
        assert (answer.status, answer.code, answer.text) == (404, "BlobNotFound", "")
        assert "Content-Length" not in answer.headers

    @fact("Any request", "without a token 401 NoAuthenticationInformation, for any path", "BOR, CPP")
    @pytest.mark.parametrize("path", ["/sharingsource/source/blob", "/sharingsource/none/blob"])
    def test_without_a_token(self, wire: Wire, path: str) -> None:
        """Since version 2019-12-12."""
        answer = wire.ask("GET", path, token=False)
        assert (answer.status, answer.code) == (401, "NoAuthenticationInformation")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


class TestCopies:
    """Copy Blob and Copy Blob From URL."""

    @fact(
        "Copy Blob and Copy Blob From URL",
        "a source If-Match that fails: 412 SourceConditionNotMet for Copy Blob, 412 CannotVerifyCopySource for Copy Blob From URL",
        "CPP SourceBlobAccessConditions, NET",
    )
    @BOTH
    def test_the_source_is_another_version(self, wire: Wire, *, sync: bool) -> None:
        wire.source().upload_blob(b"1")
        answer = wire.copy(wire.url(wire.source()), sync=sync, x_ms_source_if_match='"0x1"')
        code = "CannotVerifyCopySource" if sync else "SourceConditionNotMet"
        assert (answer.status, answer.code) == (412, code)

    @fact(
        "Copy Blob and Copy Blob From URL",
        "a target If-Match that fails: 412 TargetConditionNotMet for Copy Blob, 412 ConditionNotMet for Copy Blob From URL",
        "NET Destination_AccessConditionsFail",
    )
    @BOTH
    def test_the_target_is_another_version(self, wire: Wire, *, sync: bool) -> None:
        wire.source().upload_blob(b"1")
        wire.target().upload_blob(b"1")
        answer = wire.copy(wire.url(wire.source()), sync=sync, If_Match='"0x1"')
        assert (answer.status, answer.code) == (412, "ConditionNotMet" if sync else "TargetConditionNotMet")

    @fact(
        "Copy Blob and Copy Blob From URL",
        "the source is gone: 404 BlobNotFound for Copy Blob within an account, else 404 CannotVerifyCopySource",
        "NET StartCopyFromUriAsync_Error, NET SyncCopyFromUriAsync_Error, [doc] copy-blob",
    )
    @BOTH
    @pytest.mark.parametrize("same", [False, True], ids=["another account", "same account"])
    def test_the_source_is_gone(self, wire: Wire, *, sync: bool, same: bool) -> None:
        target = wire.source("copy") if same else wire.target()
        answer = wire.copy(wire.url(wire.source("none")), sync=sync, target=target)
        code = "BlobNotFound" if same and not sync else "CannotVerifyCopySource"
        assert (answer.status, answer.code) == (404, code)

    @fact(
        "Copy Blob and Copy Blob From URL",
        "no SAS: 401 CannotVerifyCopySource; one that is expired or does not allow the read: 403",
        "PY22 private_blob_no_sas, #arrow 41095",
    )
    @fact(
        "Copy Blob and Copy Blob From URL",
        "since 2024-02-04 headers and elements have the source's status and error code",
        "JST",
    )
    @BOTH
    @pytest.mark.parametrize("version", [OLDER, NEWER])
    @pytest.mark.parametrize(
        ("permission", "hours", "status", "source_code"),
        [
            (None, 1, 401, "NoAuthenticationInformation"),
            ("r", -1, 403, "AuthenticationFailed"),
            ("w", 1, 403, "AuthorizationPermissionMismatch"),
        ],
        ids=["none", "expired", "no read"],
    )
    def test_the_sas_is_missing_or_invalid(
        self, wire: Wire, *, sync: bool, version: str, permission: str | None, hours: int, status: int, source_code: str
    ) -> None:
        wire.source().upload_blob(b"1")
        url = wire.url(wire.source(), permission, hours) if permission else wire.source().url
        answer = wire.copy(url, sync=sync, version=version)
        assert (answer.status, answer.code) == (status, "CannotVerifyCopySource")
        shown = (str(status), source_code) if version == NEWER else (None, None)
        headers = ("x-ms-copy-source-status-code", "x-ms-copy-source-error-code")
        assert tuple(answer.headers.get(name) for name in headers) == shown
        elements = ("CopySourceStatusCode", "CopySourceErrorCode")
        assert tuple(answer.xml.findtext(name) for name in elements) == shown
        assert (answer.xml.find("CopySourceErrorMessage") is not None) is (version == NEWER)

    @fact(
        "Copy Blob and Copy Blob From URL",
        "a source If-None-Match or If-Modified-Since that fails: 412 SourceConditionNotMet for Copy Blob, 304 CannotVerifyCopySource without a body for Copy Blob From URL",
        "CPP, NET, ASP",
    )
    @BOTH
    @pytest.mark.parametrize("condition", ["none_match", "modified_since", "unmodified_since"])
    def test_the_other_conditions_on_the_source(self, wire: Wire, *, sync: bool, condition: str) -> None:
        wire.source().upload_blob(b"1")
        past, future = "Thu, 01 Jan 2015 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
        etag = wire.source().get_blob_properties().etag
        value = {"none_match": etag, "modified_since": future, "unmodified_since": past}[condition]
        given: dict[str, Any] = {f"x_ms_source_if_{condition}": value}
        answer = wire.copy(wire.url(wire.source()), sync=sync, **given)
        status = 304 if sync and condition != "unmodified_since" else 412
        code = "CannotVerifyCopySource" if sync else "SourceConditionNotMet"
        assert (answer.status, answer.code, bool(answer.text)) == (status, code, status != 304)
        value = {"none_match": '"0x1"', "modified_since": past, "unmodified_since": future}[condition]
        given = {f"x_ms_source_if_{condition}": value}
        assert wire.copy(wire.url(wire.source()), sync=sync, **given).status == 202

    @fact(
        "Copy Blob", "a source that is not verified in time: 500 CannotVerifyCopySource (on request)", "[doc] copy-blob"
    )
    def test_a_source_that_is_not_verified_in_time(self, wire: Wire) -> None:
        wire.stack.control.add_fault({"operation": "CopyBlob"}, {"status": 500, "code": "CannotVerifyCopySource"})
        answer = wire.copy(wire.url(wire.source()), sync=False)
        assert (answer.status, answer.code) == (500, "CannotVerifyCopySource")

    @fact(
        "Copy Blob and Copy Blob From URL",
        "a copy without metadata takes the source's metadata and content headers, but not its tags",
        "CPP CopyWithTagsMetadataTier, PY20",
    )
    @BOTH
    def test_without_metadata_carries_the_sources_and_no_tags(self, wire: Wire, *, sync: bool) -> None:
        settings = ContentSettings(content_type="text/csv", content_language="de")
        wire.source().upload_blob(b"1", metadata={"a": "b"}, tags={"c": "d"}, content_settings=settings)
        wire.copy(wire.url(wire.source()), sync=sync)
        while (seen := wire.target().get_blob_properties()).copy.status == "pending":
            pass
        assert (seen.metadata, seen.tag_count) == ({"a": "b"}, None)
        assert (seen.content_settings.content_type, seen.content_settings.content_language) == ("text/csv", "de")

    @fact("Copy Blob From URL", "the target shows the copy's properties, complete", "CPP, NET")
    def test_a_synchronous_copy_leaves_its_properties(self, wire: Wire) -> None:
        wire.source().upload_blob(b"123")
        wire.copy(wire.url(wire.source()), sync=True)
        copy = wire.target().get_blob_properties().copy
        assert (copy.status, copy.progress, bool(copy.id), bool(copy.completion_time)) == ("success", "3/3", True, True)
        assert str(copy.source).startswith(wire.source().url)

    @fact(
        "Copy Blob From URL",
        "a busy source may be a 4xx with the source code ServerBusy (on request)",
        "[sdk] storage-blob `_shared/policies.py`",
    )
    def test_a_busy_source(self, wire: Wire) -> None:
        action = {"status": 409, "source_status": 503, "source_code": "ServerBusy"}
        wire.stack.control.add_fault({"operation": "CopyBlobFromUrl"}, action)
        answer = wire.copy(wire.url(wire.source()), sync=True)
        assert (answer.status, answer.code) == (409, "CannotVerifyCopySource")
        assert answer.headers["x-ms-copy-source-error-code"] == "ServerBusy"
        assert answer.xml.findtext("CopySourceStatusCode") == "503"

    @BOTH
    def test_of_a_name_with_dots_at_the_end(self, wire: Wire, *, sync: bool) -> None:
        wire.source("a./b..").upload_blob(b"1")
        target = wire.target("c./d..")
        assert wire.copy(wire.url(wire.source("a./b..")), sync=sync, target=target).status == 202
        while target.get_blob_properties().copy.status == "pending":
            pass
        assert wire.target("c/d").download_blob().readall() == b"1"


class TestRefusals:
    """The service answers 409 to what it cannot do at all."""

    @fact(
        "Any request",
        "a blob with a customer-provided key: a HEAD is 409 BlobUsesCustomerSpecifiedEncryption without a body (on request)",
        "ASP test_cpk",
    )
    def test_a_customers_key(self, wire: Wire) -> None:
        """Without the key a HEAD and a copy are refused, a deletion is not."""
        blob = wire.source()
        blob.upload_blob(b"1")
        wire.source("other").upload_blob(b"1")
        code = "BlobUsesCustomerSpecifiedEncryption"
        wire.stack.control.refuse("source", blob.blob_name, code)
        head = wire.ask("HEAD", urlsplit(blob.url).path)
        assert (head.status, head.code, head.text) == (409, code, "")
        assert wire.copy(wire.url(blob), sync=False).code == code
        sync = wire.copy(wire.url(blob), sync=True)
        assert (sync.code, sync.headers["x-ms-copy-source-error-code"]) == ("CannotVerifyCopySource", code)
        with pytest.raises(HttpResponseError) as refusal:
            wire.target().stage_block_from_url("0001", wire.url(blob))
        assert (refusal.value.status_code, code_of(refusal.value)) == (409, "CannotVerifyCopySource")
        assert wire.copy(wire.url(wire.source("other")), sync=True).status == 202
        blob.delete_blob()

    @fact(
        "Copy Blob and Copy Blob From URL",
        "409 for an operation that the account does not support (on request)",
        "#azure-cli 21566, #azcopy 2706",
    )
    @pytest.mark.parametrize(
        "code",
        [
            "BlobOperationNotSupported",
            "FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
            "OperationNotAllowedInCurrentState",
        ],
    )
    def test_operations_that_are_not_supported(self, wire: Wire, code: str) -> None:
        action = {"status": 409, "code": code}
        wire.stack.control.add_fault({"operation": "CopyBlobFromUrl", "blob": f"^{wire.test}/blob$"}, action)
        assert wire.copy(wire.url(wire.source()), sync=True).code == code


class TestNames:
    """How the service stores a name."""

    @fact("Names", "dots at the end of a segment are dropped", "BOR")
    @pytest.mark.parametrize(
        ("name", "stored"), [("end.", "end"), ("dot./x", "dot/x"), ("a../b.c..", "a/b.c"), (".a", ".a")]
    )
    def test_dots_at_the_end_of_a_segment_are_dropped(self, wire: Wire, name: str, stored: str) -> None:
        wire.source(name).upload_blob(b"1")
        assert [element.text for element in wire.listed().xml.iter("Name")] == [f"{wire.test}/{stored}"]
        assert wire.source(name).get_blob_properties().etag == wire.source(stored).get_blob_properties().etag

    @fact("Names", "U+0000 to U+001F, U+007F and bytes that are not UTF-8: 400", "BOR")
    @pytest.mark.parametrize("character", ["%00", "%01", "%0A", "%1F", "%7F", "%FF"])
    def test_control_characters_and_invalid_utf_8_are_refused(self, wire: Wire, character: str) -> None:
        path = f"/sharingsource/source/{wire.test}/a{character}b"
        assert wire.ask("PUT", path, headers={"x-ms-blob-type": "BlockBlob"}).status == 400

    @fact("Names", "U+0085 is accepted", "BOR")
    def test_next_line_is_accepted(self, wire: Wire) -> None:
        wire.source("a\u0085b").upload_blob(b"1")
        assert [element.text for element in wire.listed().xml.iter("Name")] == [f"{wire.test}/a\u0085b"]

    @fact("Names", "a flat account keeps empty segments, trailing slashes, spaces and leading dots", "BOR")
    def test_a_flat_account_keeps_empty_segments(self, wire: Wire) -> None:
        names = [".a", " b ", "c//d", "e/"]
        for name in names:
            wire.source(name).upload_blob(b"1")
        found = {element.text for element in wire.listed().xml.iter("Name")}
        assert found == {f"{wire.test}/{name}" for name in names}

    @fact("Names", "a name has 1,024 UTF-16 units and 255 segments at most", "BOR")
    @pytest.mark.parametrize("name", ["a" * 1_025, "🎈" * 513, "a/" * 255 + "a"])
    def test_a_name_has_1024_units_and_255_segments(self, wire: Wire, name: str) -> None:
        headers = {"x-ms-blob-type": "BlockBlob"}
        shorter = name[1:] if name.startswith("🎈") or "/" not in name else name[2:]
        assert wire.ask("PUT", f"/sharingsource/source/{quote(name)}", headers=headers).status == 400
        assert wire.ask("PUT", f"/sharingsource/source/{quote(shorter)}", headers=headers).status == 201
        assert wire.ask("DELETE", f"/sharingsource/source/{quote(shorter)}").status == 202


class TestBlocks:
    """Uploads in blocks."""

    @fact("Blocks", "Put Block: 201 without ETag, Last-Modified and MD5", "BOR")
    def test_a_block_is_staged_without_an_etag(self, wire: Wire) -> None:
        answer = wire.put(wire.source(), "comp=block&blockid=MDAwMQ%3D%3D", b"1")
        assert (answer.status, answer.headers.keys() & {"ETag", "Etag", "Last-Modified", "Content-MD5"}) == (201, set())
        assert "x-ms-content-crc64" in answer.headers

    @fact(
        "Blocks",
        "an id of another length: 400 InvalidBlobOrBlock; an unknown one in a commit: 400 InvalidBlockList",
        "BOR",
    )
    def test_a_block_that_does_not_fit_is_refused(self, wire: Wire) -> None:
        wire.put(wire.source(), "comp=block&blockid=MDAwMQ%3D%3D", b"1")
        other = wire.put(wire.source(), "comp=block&blockid=MDAwMDAx", b"1")
        unknown = wire.put(wire.source(), "comp=blocklist", b"<BlockList><Latest>MDAwOQ==</Latest></BlockList>")
        assert [(answer.status, answer.code) for answer in (other, unknown)] == [
            (400, "InvalidBlobOrBlock"),
            (400, "InvalidBlockList"),
        ]

    @fact("Blocks", "the block list of a missing blob: 404 BlobNotFound", "BOR")
    def test_blocks_of_a_missing_blob_are_not_found(self, wire: Wire) -> None:
        answer = wire.ask("GET", urlsplit(wire.source().url).path, "comp=blocklist&blocklisttype=all")
        assert (answer.status, answer.code) == (404, "BlobNotFound")

    @fact("Blocks", "a commit with a stale If-Match: 412 ConditionNotMet", "BOR")
    def test_a_commit_has_its_condition(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1")
        wire.put(wire.source(), "comp=block&blockid=MDAwMQ%3D%3D", b"1")
        blocks = b"<BlockList><Latest>MDAwMQ==</Latest></BlockList>"
        answer = wire.put(wire.source(), "comp=blocklist", blocks, {"If-Match": '"0x1"'})
        assert (answer.status, answer.code) == (412, "ConditionNotMet")

    @fact("Blocks", "an empty block: 400 InvalidHeaderValue", "BOR")
    def test_an_empty_block_is_refused(self, wire: Wire) -> None:
        with pytest.raises(HttpResponseError) as refusal:
            wire.source().stage_block("0001", b"")
        assert (refusal.value.status_code, code_of(refusal.value)) == (400, "InvalidHeaderValue")
        wire.source().commit_block_list([])
        assert wire.source().get_blob_properties().size == 0

    @fact("Blocks", "staged blocks are listed, without an ETag, and are not a blob: a HEAD is 404", "BOR")
    def test_staged_blocks_have_no_etag(self, wire: Wire) -> None:
        blob = wire.source()
        path = urlsplit(blob.url).path
        blob.stage_block("0001", b"1")
        staged = wire.ask("GET", path, "comp=blocklist&blocklisttype=all")
        assert (staged.status, staged.headers.keys() & {"ETag", "Etag", "Last-Modified"}) == (200, set())
        assert staged.text.startswith(BOM)
        assert "<CommittedBlocks />" in staged.text
        assert wire.ask("HEAD", path).status == 404
        blob.commit_block_list([BlobBlock("0001")])
        assert wire.ask("GET", path, "comp=blocklist&blocklisttype=all").headers.keys() & {"ETag", "Etag"}

    @fact("Blocks", "Put Block List with If-None-Match: * for an existing blob: 409 BlobAlreadyExists", "BOR")
    def test_a_commit_onto_an_existing_blob_is_refused(self, wire: Wire) -> None:
        """Documented is 412."""
        blob = wire.source()
        blob.upload_blob(b"1")
        blob.stage_block("0001", b"2")
        with pytest.raises(HttpResponseError) as refusal:
            blob.commit_block_list([BlobBlock("0001")], match_condition=MatchConditions.IfMissing)
        assert (refusal.value.status_code, code_of(refusal.value)) == (409, "BlobAlreadyExists")


class TestReads:
    """Get Blob Properties, Get Blob Tags."""

    @fact("Any request", "an ETag without quotes works in If-Match", "BOR")
    def test_an_etag_without_quotes_is_a_condition(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1")
        path, etag = urlsplit(wire.source().url).path, wire.source().get_blob_properties().etag
        assert wire.ask("HEAD", path, headers={"If-Match": etag.strip('"')}).status == 200
        assert wire.ask("HEAD", path, headers={"If-Match": "0x1"}).status == 412

    @fact("Any request", "304 has an error code and no body", "CPP, ASP")
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_not_modified_has_a_code(self, wire: Wire, method: str) -> None:
        wire.source().upload_blob(b"1")
        etag = wire.source().get_blob_properties().etag
        answer = wire.ask(method, urlsplit(wire.source().url).path, headers={"If-None-Match": etag})
        assert (answer.status, answer.code, answer.text) == (304, "ConditionNotMet", "")

    @fact("Get Blob Properties", "a malformed query: 400 without any code", "ASP test_get_blob_properties_fail")
    def test_a_malformed_query_of_a_head_has_no_code(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1")
        answer = wire.ask("HEAD", urlsplit(wire.source().url).path, "snapshot=1")
        assert (answer.status, answer.code) == (400, "")

    @fact("Any request", "with a wrong token 401 InvalidAuthenticationInfo and WWW-Authenticate", "BOR")
    def test_a_wrong_token(self, wire: Wire) -> None:
        path = urlsplit(wire.source().url).path
        answer = wire.ask("GET", path, headers={"Authorization": "Bearer x", "x-ms-version": NEWER}, token=False)
        assert (answer.status, answer.code) == (401, "InvalidAuthenticationInfo")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")

    @fact("Get Blob Properties", "a tier is inferred until it is set; then it has a time", "BOR")
    def test_a_tier_is_inferred_until_it_is_set(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1")
        path = urlsplit(wire.source().url).path
        names = ("x-ms-access-tier-inferred", "x-ms-access-tier-change-time")
        before = wire.ask("HEAD", path).headers
        wire.source().set_standard_blob_tier(StandardBlobTier.COOL)
        after = wire.ask("HEAD", path).headers
        assert [name in before for name in names] == [True, False]
        assert [name in after for name in names] == [False, True]

    @fact("Get Blob Tags", "XML with a byte order mark and a line for its declaration", "CPP")
    def test_tags_are_xml_with_a_byte_order_mark(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1", tags={"a": "1"})
        answer = wire.ask("GET", urlsplit(wire.source().url).path, "comp=tags")
        start = BOM + '<?xml version="1.0" encoding="utf-8"?>\n'
        assert answer.text == start + "<Tags><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tags>"
        assert answer.headers["Content-Type"] == "application/xml"
        assert wire.source().get_blob_tags() == {"a": "1"}

    @fact("Get Blob Properties", "`x-ms-tag-count` only where there are tags; until 2019 always", "PY20, ASP")
    def test_tags_are_counted_only_if_there_are_any(self, wire: Wire) -> None:
        for name, tags in (("with", {"a": "1"}), ("without", None)):
            wire.source(name).upload_blob(b"1", tags=tags)
        heads = [wire.ask("HEAD", urlsplit(wire.source(name).url).path).headers for name in ("with", "without")]
        assert [head.get("x-ms-tag-count") for head in heads] == ["1", None]


class TestWrites:
    """Abort Copy Blob, Delete Blob, and leases."""

    @fact(
        "Abort Copy Blob",
        "204 without an ETag; nothing pending: 409 NoPendingCopyOperation; no blob: 404 BlobNotFound",
        "PY22, ASP, NET AbortCopyFromUriAsync_Error",
    )
    def test_an_abort_has_no_etag(self, wire: Wire) -> None:
        wire.stack.control.copies(hold=True)
        wire.source().upload_blob(b"1")
        copy = wire.copy(wire.url(wire.source()), sync=False).headers["x-ms-copy-id"]
        query, headers = f"comp=copy&copyid={copy}", {"x-ms-copy-action": "abort"}
        path = urlsplit(wire.target().url).path
        aborted = wire.ask("PUT", path, query, headers)
        assert (aborted.status, aborted.headers.keys() & {"ETag", "Etag"}) == (204, set())
        again, none = wire.ask("PUT", path, query, headers), wire.ask("PUT", f"{path}-none", query, headers)
        assert (again.status, again.code) == (409, "NoPendingCopyOperation")
        assert (none.status, none.code) == (404, "BlobNotFound")

    @fact(
        "Delete Blob",
        "202 with `x-ms-delete-type-permanent`; a stale If-Match: 412 ConditionNotMet; no blob: 404 BlobNotFound",
        "BOR",
    )
    def test_a_deletion_is_accepted(self, wire: Wire) -> None:
        blob = wire.source()
        blob.upload_blob(b"1")
        path = urlsplit(blob.url).path
        stale = wire.ask("DELETE", path, headers={"If-Match": '"0x1"'})
        assert (stale.status, stale.code) == (412, "ConditionNotMet")
        gone = wire.ask("DELETE", path)
        assert (gone.status, gone.headers["x-ms-delete-type-permanent"]) == (202, "true")
        again = wire.ask("DELETE", path)
        assert (again.status, again.code) == (404, "BlobNotFound")

    @fact("Delete Blob", "with snapshots: 409 SnapshotsPresent", "BOR")
    def test_a_blob_with_snapshots_is_not_deleted(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1")
        wire.source().create_snapshot()
        answer = wire.ask("DELETE", urlsplit(wire.source().url).path)
        assert (answer.status, answer.code) == (409, "SnapshotsPresent")

    @fact(
        "Other writes",
        "412 LeaseIdMissing, LeaseIdMismatchWithBlobOperation, LeaseNotPresentWithBlobOperation",
        "ASP, CPP, NET",
    )
    def test_leases_have_three_refusals(self, wire: Wire) -> None:
        wire.source().upload_blob(b"1")
        path, other = f"{urlsplit(wire.source().url).path}", {"x-ms-lease-id": str(uuid4())}
        without = wire.ask("PUT", path, "comp=metadata", other)
        wire.source().acquire_lease()
        wrong, missing = wire.ask("PUT", path, "comp=metadata", other), wire.ask("PUT", path, "comp=metadata")
        assert [(answer.status, answer.code) for answer in (without, wrong, missing)] == [
            (412, "LeaseNotPresentWithBlobOperation"),
            (412, "LeaseIdMismatchWithBlobOperation"),
            (412, "LeaseIdMissing"),
        ]


@pytest.fixture
def hierarchical(wire: Wire) -> Iterator[Wire]:
    """Give the source account a hierarchical namespace."""
    wire.stack.control.hierarchical("sharingsource")
    yield wire
    wire.stack.control.hierarchical()


class TestHierarchy:
    """Accounts with a hierarchical namespace."""

    @fact(
        "Hierarchical namespace",
        "a list has a directory as an empty blob with `<ResourceType>directory</ResourceType>`",
        "BOR",
    )
    @pytest.mark.parametrize("query", ["", "include=metadata"])
    def test_a_directory_is_listed_as_a_blob(self, hierarchical: Wire, query: str) -> None:
        for name in ("z.txt", "nested/c.txt", "a.txt"):
            hierarchical.source(name).upload_blob(b"1")
        blobs = list(hierarchical.listed(query).xml.iter("Blob"))
        names = ["a.txt", "nested", "nested/c.txt", "z.txt"]
        assert [blob.findtext("Name") for blob in blobs] == [f"{hierarchical.test}/{name}" for name in names]
        kinds = [blob.findtext("Properties/ResourceType") for blob in blobs]
        assert kinds == ["file", "directory", "file", "file"]
        directory = {element.tag: element.text for element in blobs[1][1]}
        assert (directory["Content-Length"], directory["Content-Type"]) == ("0", None)
        assert blobs[1].findtext("Metadata/hdi_isfolder") == ("true" if query else None)

    @fact(
        "Hierarchical namespace",
        "a HEAD shows `x-ms-resource-type` and, of a directory, the metadata `hdi_isfolder`",
        "JSD",
    )
    def test_a_head_shows_a_directory(self, hierarchical: Wire) -> None:
        hierarchical.source("nested/c.txt").upload_blob(b"1")
        head = hierarchical.ask("HEAD", urlsplit(hierarchical.source("nested").url).path)
        assert (head.status, head.headers["Content-Length"]) == (200, "0")
        assert head.headers["x-ms-resource-type"] == "directory"
        assert head.headers["x-ms-meta-hdi_isfolder"] == "true"
        head = hierarchical.ask("HEAD", urlsplit(hierarchical.source("nested/c.txt").url).path)
        assert head.headers["x-ms-resource-type"] == "file"

    async def test_the_app_does_not_list_directories(self, hierarchical: Wire, storage: InStorage) -> None:
        place = replace(storage.source_place, prefix=f"{hierarchical.test}/")
        hierarchical.source("nested/c.txt").upload_blob(b"1")
        assert [name for name, _ in await everything(storage.source, place)] == [f"{hierarchical.test}/nested/c.txt"]

    @fact("Hierarchical namespace", "empty segments of a name are dropped", "BOR")
    def test_empty_segments_are_dropped(self, hierarchical: Wire) -> None:
        hierarchical.source("a//b").upload_blob(b"1")
        assert hierarchical.source("a/b").download_blob().readall() == b"1"
        names = [name.text for name in hierarchical.listed().xml.iter("Name")]
        assert names == [f"{hierarchical.test}/a", f"{hierarchical.test}/a/b"]

    @fact("Hierarchical namespace", "a name has 61 segments at most", "BOR")
    def test_61_segments_are_the_limit(self, hierarchical: Wire) -> None:
        """Found by bisection."""
        path = f"/sharingsource/source/{hierarchical.test}"
        headers = {"x-ms-blob-type": "BlockBlob"}
        assert hierarchical.ask("PUT", path + "/a" * 60, headers=headers).status == 201
        assert hierarchical.ask("PUT", path + "/a" * 61, headers=headers).status == 400

    @fact(
        "Hierarchical namespace",
        "a snapshot, or a write with tags: 409 FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
        "BOR",
    )
    @fact("Hierarchical namespace", "reading tags: 400 InvalidQueryParameterValue", "a user's log (60449204814)")
    def test_snapshots_and_tags_are_not_supported(self, hierarchical: Wire) -> None:
        blob = hierarchical.source("nested/c.txt")
        blob.upload_blob(b"1")
        code = "FeatureNotYetSupportedForHierarchicalNamespaceAccounts"
        path = urlsplit(blob.url).path
        snapshot = hierarchical.ask("PUT", path, "comp=snapshot")
        assert (snapshot.status, snapshot.code) == (409, code)
        tagged = hierarchical.ask("PUT", path, headers={"x-ms-blob-type": "BlockBlob", "x-ms-tags": "a=b"})
        assert (tagged.status, tagged.code) == (409, code)
        tags = hierarchical.ask("GET", path, "comp=tags")
        assert (tags.status, tags.code) == (400, "InvalidQueryParameterValue")

    @fact(
        "Hierarchical namespace", "a copy from a directory: 409 OperationNotAllowedInCurrentState", "#azure-cli 21566"
    )
    @BOTH
    def test_a_directory_is_not_copied(self, hierarchical: Wire, *, sync: bool) -> None:
        hierarchical.source("nested/c.txt").upload_blob(b"1")
        answer = hierarchical.copy(hierarchical.url(hierarchical.source("nested")), sync=sync)
        assert (answer.status, answer.code) == (409, "OperationNotAllowedInCurrentState")
        url = hierarchical.url(hierarchical.source("nested/c.txt"))
        assert hierarchical.copy(url, sync=sync).status == 202

    @fact(
        "Hierarchical namespace",
        "deleting a directory: 400 OperationNotSupportedOnDirectory",
        "#azure-sdk-for-net 39065",
    )
    def test_a_directory_is_not_deleted_by_the_blob_api(self, hierarchical: Wire) -> None:
        hierarchical.source("nested/c.txt").upload_blob(b"1")
        answer = hierarchical.ask("DELETE", urlsplit(hierarchical.source("nested").url).path)
        assert (answer.status, answer.code) == (400, "OperationNotSupportedOnDirectory")

    @fact(
        "Hierarchical namespace",
        "a client that may read blobs may read the root directory, the blob `/`; a flat account has none",
        "#trino 20897, #trino 27278, #cloudpathlib 470",
    )
    def test_every_container_has_a_root_directory(self, hierarchical: Wire) -> None:
        """Its HEAD shows whether the account has a hierarchical namespace."""
        root = hierarchical.ask("HEAD", "/sharingsource/source//")
        assert (root.status, root.headers["x-ms-resource-type"]) == (200, "directory")
        assert (root.headers["x-ms-meta-hdi_isfolder"], root.headers["Content-Length"]) == ("true", "0")
        assert hierarchical.ask("HEAD", "/sharingsource/none//").code == "ContainerNotFound"
        assert hierarchical.ask("HEAD", "/sharingsource/source//", token=False).status == 401
        flat = hierarchical.ask("HEAD", "/sharingtarget/target//")
        assert (flat.status, flat.code) == (404, "BlobNotFound")

    @fact(
        "Hierarchical namespace", "Get Account Information has `x-ms-is-hns-enabled`", "[doc] get-account-information"
    )
    def test_the_account_information_shows_the_namespace(self, hierarchical: Wire) -> None:
        def is_hierarchical() -> str | None:
            return hierarchical.ask("GET", "/sharingsource/", "restype=account&comp=properties").headers.get(
                "x-ms-is-hns-enabled"
            )

        assert is_hierarchical() == "true"
        hierarchical.stack.control.hierarchical()
        assert is_hierarchical() != "true"


def code_of(error: HttpResponseError) -> Any:
    """Return the service's error code."""
    return getattr(error, "error_code", None)
