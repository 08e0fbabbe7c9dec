"""The blobs that `make versus` shares: put once, put again for the app's events, compared at each target."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from azure.storage.blob import (
    BlobBlock,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    generate_container_sas,
)

from devhost.bench.load import AT_ONCE, MIB
from devhost.stack import LocalStack

PIECE = 8 * MIB
# The bytes of a large blob: a piece that is repeated, each time after its own number. They are not compressible.
BASE = Random(0).randbytes(PIECE)  # noqa: S311  # not secret
NUMBER = 8
SAS_TIME = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Blobs:
    """All blobs of a container in the source account."""

    container: str
    count: int
    size: int

    @property
    def names(self) -> list[str]:
        """The names of the blobs."""
        return [f"{self.container}-{number:06d}" for number in range(self.count)]

    def content(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a blob in pieces."""
        start = name.encode().rjust(NUMBER)[-NUMBER:]
        for number, offset in enumerate(range(0, self.size, PIECE)):
            head = number.to_bytes(NUMBER, "big") if number else start
            yield (head + BASE[NUMBER:])[: self.size - offset]


class Source:
    """Puts blobs into the source account, and compares their copies in containers of the target account."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._source, self._target = (
            BlobServiceClient.from_connection_string(
                stack.connection_string(f"sharing{side}"), max_single_get_size=PIECE, max_chunk_get_size=PIECE
            )
            for side in ("source", "target")
        )

    def create(self, blobs: Blobs) -> None:
        """Create the container and put all blobs."""
        client = self._source.create_container(blobs.container)

        def put(name: str) -> None:
            for number, piece in enumerate(blobs.content(name)):
                client.get_blob_client(name).stage_block(_block(number), piece)
            self._commit(client, blobs, name)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(put, blobs.names))

    def renew(self, blobs: Blobs) -> None:
        """Write a new version of all blobs with the same bytes, from the blocks that they have."""
        client = self._source.get_container_client(blobs.container)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._commit(client, blobs, name), blobs.names))

    def target(self, container: str) -> str:
        """Create a container in the target account and return its URL with a SAS."""
        return self._with_sas(self._target.create_container(container))

    def url(self, blobs: Blobs) -> str:
        """Return the container's URL with a SAS."""
        return self._with_sas(self._source.get_container_client(blobs.container))

    def wrong(self, blobs: Blobs, container: str) -> int:
        """Return how many blobs of a target container are missing, unexpected, or have other bytes."""
        client = self._target.get_container_client(container)
        names = set(client.list_blob_names())

        def equal(name: str) -> bool:
            chunks = client.download_blob(name).chunks()
            return all(chunk == piece for chunk, piece in zip(chunks, blobs.content(name), strict=True))

        def same(name: str) -> bool:
            return client.get_blob_client(name).get_blob_properties().size == blobs.size and equal(name)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            right = sum(pool.map(same, names.intersection(blobs.names)))
        return len(names.union(blobs.names)) - right

    def _commit(self, client: ContainerClient, blobs: Blobs, name: str) -> None:
        blocks = range(-(-blobs.size // PIECE))
        client.get_blob_client(name).commit_block_list([BlobBlock(_block(number)) for number in blocks])

    def _with_sas(self, container: ContainerClient) -> str:
        # A SAS of the account does not suffice: with one, Azurite fails at Put Block From URL.
        sas = generate_container_sas(
            container.account_name,
            container.container_name,
            account_key=self._stack.key,
            permission=ContainerSasPermissions.from_string("racwdl"),
            expiry=datetime.now(UTC) + SAS_TIME,
        )
        return f"{container.url}?{sas}"


def _block(number: int) -> str:
    return f"{number:06d}"
