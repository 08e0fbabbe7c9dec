"""Lists of blobs in the service's format. Azurite omits empty elements, uses plain markers and accepts any marker.

The forms are those of recorded answers: borink-org/object-storage, `azure-listing` fixtures (version 2026-04-06), and the
recordings of Azure/azure-sdk-for-cpp (2021) and Azure/azure-storage-python (2019).
"""

import base64
import binascii
import re
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree as ET
from xml.sax.saxutils import unescape

from aiohttp import web

from devhost.storage.answers import XML_START, Answer, error
from devhost.storage.hierarchy import Hierarchy
from devhost.storage.operations import Operation
from devhost.storage.properties import CopyProperties
from devhost.storage.upstream import Upstream

# Elements that are always in a list, empty if they have no value.
_ALWAYS = (
    "Content-Encoding",
    "Content-Language",
    "Content-CRC64",
    "Content-MD5",
    "Cache-Control",
    "Content-Disposition",
)
_ORDER = (
    "Creation-Time",
    "Last-Modified",
    "Etag",
    "ResourceType",
    "Content-Length",
    "Content-Type",
    *_ALWAYS,
    "x-ms-blob-sequence-number",
    "BlobType",
    "AccessTier",
    "AccessTierInferred",
    "AccessTierChangeTime",
    "LeaseStatus",
    "LeaseState",
    "LeaseDuration",
    "CopyId",
    "CopySource",
    "CopyStatus",
    "CopyStatusDescription",
    "CopyProgress",
    "CopyCompletionTime",
    "ServerEncrypted",
)
_ONLY_IF_ASKED = {"Prefix": "prefix", "Marker": "marker", "MaxResults": "maxresults", "Delimiter": "delimiter"}
_PARAMETERS = ("restype", "comp", "prefix", "delimiter", "maxresults", "include")
_BEYOND_XML = re.compile("<Name>([^<]*[\ufffe\uffff][^<]*)</Name>")
_MARKER = re.compile(r"[0-9]!(?P<length>[0-9]+)!(?P<text>[A-Za-z0-9+/_-]*)")
_FOREVER = "9999-12-31T23:59:59.9999999Z"


class Lists:
    """Answers List Blobs."""

    def __init__(self, upstream: Upstream, properties: CopyProperties, hierarchy: Hierarchy) -> None:
        self._upstream = upstream
        self._properties = properties
        self._hierarchy = hierarchy

    async def page(self, request: web.BaseRequest, wanted: Operation, answer: Answer) -> Answer:
        """Convert Azurite's answer. A page with a marker is fetched again by the name in the marker."""
        marker = wanted.query.get("marker", "")
        if marker:
            answer.drop()
            name = _name_in(marker)
            if isinstance(name, Answer):
                return name
            answer = await self._from(request, wanted, name)
        if answer.ok:
            answer.replace(self._written(wanted, (await answer.read()).decode()))
        return answer

    async def _from(self, request: web.BaseRequest, wanted: Operation, name: str) -> Answer:
        """Fetch the page after a name. Azurite has already checked the client's signature, which covers the sent marker."""
        query = {key: wanted.query[key] for key in _PARAMETERS if key in wanted.query} | {"marker": name}
        version = request.headers.get("x-ms-version")
        headers = {"x-ms-version": version} if version else {}
        return await self._upstream.ask("GET", wanted.path, urlencode(query, quote_via=quote), headers)

    def _written(self, wanted: Operation, text: str) -> bytes:
        root = ET.fromstring(_BEYOND_XML.sub(_encoded, text))  # noqa: S314  # Azurite's own
        for tag, parameter in _ONLY_IF_ASKED.items():
            _show(root, tag, wanted.query.get(parameter, ""))
        includes = wanted.query.get("include", "").split(",")
        for blob in root.iter("Blob"):
            self._complete(wanted, blob, includes)
        following = root.find("NextMarker")
        if following is not None and following.text:
            following.text = _marker(following.text)
        return (XML_START + ET.tostring(root, encoding="unicode")).encode()

    def _complete(self, wanted: Operation, blob: ET.Element, includes: list[str]) -> None:
        properties = blob.find("Properties")
        if properties is None:
            return
        found = {element.tag: element.text or "" for element in properties}
        copy = {tag: found.pop(tag) for tag in list(found) if tag.startswith("Copy") or tag == "IncrementalCopy"}
        if "copy" in includes:
            found |= self._properties.listed((wanted.account, wanted.container), found.get("Etag", ""), copy)
        if found.get("Sealed") == "false":
            del found["Sealed"]
        if found.get("AccessTierInferred") == "true":
            found.pop("AccessTierChangeTime", None)
        found = dict.fromkeys(_ALWAYS, "") | found
        found = self._hierarchy.listed((wanted.account, wanted.container, _name(blob)), found)
        properties.clear()
        for tag in sorted(found, key=lambda tag: _ORDER.index(tag) if tag in _ORDER else len(_ORDER)):
            ET.SubElement(properties, tag).text = found[tag]
        metadata = blob.find("Metadata")
        if "metadata" in includes and metadata is None:
            position = list(blob).index(properties) + 1
            blob.insert(position, ET.Element("Metadata"))
        ET.SubElement(blob, "OrMetadata")


def _name(blob: ET.Element) -> str:
    name = blob.find("Name")
    text = "" if name is None else name.text or ""
    return unquote(text) if name is not None and name.get("Encoded") else text


def _show(root: ET.Element, tag: str, value: str) -> None:
    element = root.find(tag)
    if element is not None and value:
        element.text = value
    elif element is not None:
        root.remove(element)


def _encoded(found: re.Match[str]) -> str:
    """Percent-encode a name that XML does not allow."""
    return f'<Name Encoded="true">{quote(unescape(found[1]), safe="")}</Name>'


def _marker(name: str) -> str:
    text = f"{len(name):06}!{name}!{len(_FOREVER):06}!{_FOREVER}!"
    encoded = base64.b64encode(text.encode()).decode().replace("=", "-").replace("/", "_")
    return f"2!{len(encoded)}!{encoded}"


def _name_in(marker: str) -> str | Answer:
    """Return the name in a marker, or the service's refusal of an invalid one."""
    found = _MARKER.fullmatch(marker)
    if found is None:
        return error(400, "InvalidQueryParameterValue", "Value for one of the query parameters is invalid.")
    try:
        text = base64.b64decode(found["text"].replace("-", "=").replace("_", "/"), validate=True).decode()
        name = text[7:][: int(text[:6])]
    except (ValueError, binascii.Error):
        name = ""
    if not name or len(found["text"]) != int(found["length"]):
        return error(400, "InvalidInput", "One of the request inputs is not valid.")
    return name
