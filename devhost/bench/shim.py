"""`python -m devhost.bench.shim`: the storage half, which also serves Put Blob From URL, as AzCopy needs it.

Azurite does not implement this request. It is served as Copy Blob From URL, which also copies before it answers.
"""

import sys
from dataclasses import replace
from http import HTTPStatus

from aiohttp import web
from multidict import CIMultiDict

from devhost.storage.__main__ import main
from devhost.storage.answers import Answer
from devhost.storage.operations import Operation
from devhost.storage.proxy import Proxy


class Shim(Proxy):
    """The proxy with Put Blob From URL for a client that has a SAS: a signature by an account key would not fit any longer."""

    async def _serve(self, request: web.BaseRequest, wanted: Operation) -> Answer:
        if wanted.name != "PutBlobFromUrl":
            return await super()._serve(request, wanted)
        headers = CIMultiDict(request.headers)
        del headers["x-ms-blob-type"]
        headers["x-ms-requires-sync"] = "true"
        answer = await super()._serve(request.clone(headers=headers), replace(wanted, name="CopyBlobFromUrl"))
        if answer.ok:
            answer.status = HTTPStatus.CREATED
        return answer


if __name__ == "__main__":
    sys.exit(main(Shim))
