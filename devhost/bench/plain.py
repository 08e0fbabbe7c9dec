"""`python -m devhost.bench.plain`: the plain pattern of the SDK's samples, as a program to compare with.

It starts an asynchronous copy of each blob of the container SOURCE to the container TARGET, two URLs with a SAS, and polls until
no copy is pending.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from azure.storage.blob import ContainerClient

THREADS = 10  # the connections that the SDK keeps open
POLL_SECONDS = 1.0


def main() -> int:
    """Copy, and return 1 if a copy did not succeed."""
    source, target = (ContainerClient.from_container_url(os.environ[name]) for name in ("SOURCE", "TARGET"))

    def start(name: str) -> None:
        target.get_blob_client(name).start_copy_from_url(source.get_blob_client(name).url)

    def status(name: str) -> str:
        return str(target.get_blob_client(name).get_blob_properties().copy.status)

    with ThreadPoolExecutor(THREADS) as pool:
        pending, failed = list(source.list_blob_names()), 0
        list(pool.map(start, pending))
        while pending:
            found = list(zip(pending, pool.map(status, pending), strict=True))
            pending = [name for name, status in found if status == "pending"]
            failed += sum(status not in {"pending", "success"} for _, status in found)
            time.sleep(POLL_SECONDS if pending else 0)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
