"""The blobs that `make versus` shares: put once, put again for the app's events, compared at each target."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, product
from operator import itemgetter
from random import Random
from typing import TypeVar

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
Item = TypeVar("Item")
Answer = TypeVar("Answer")


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

    @property
    def pieces(self) -> list[tuple[str, int]]:
        """The pieces of all blobs: a name and a number, which counts from 0 in each blob."""
        return list(product(self.names, range(-(-self.size // PIECE))))

    def piece(self, name: str, number: int) -> bytes:
        """Return the bytes of a piece."""
        head = number.to_bytes(NUMBER, "big") if number else name.encode().rjust(NUMBER)[-NUMBER:]
        return (head + BASE[NUMBER:])[: self.size - number * PIECE]


class Source:
    """Puts blobs into the source account, and compares their copies in containers of the target account."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._source, self._target = (
            BlobServiceClient.from_connection_string(
                stack.connection_string(f"sharing{side}"),
                max_single_get_size=PIECE,
                retry_total=0,  # after Ctrl-C the emulator does not answer any more
            )
            for side in ("source", "target")
        )

    def create(self, blobs: Blobs) -> None:
        """Create the container and put all blobs."""
        client = self._source.create_container(blobs.container)

        def put(piece: tuple[str, int]) -> None:
            client.get_blob_client(piece[0]).stage_block(_block(piece[1]), blobs.piece(*piece))

        _at_once(put, blobs.pieces)
        self.renew(blobs)

    def renew(self, blobs: Blobs) -> None:
        """Write a new version of all blobs with the same bytes, from the blocks that they have."""
        client = self._source.get_container_client(blobs.container)
        blocks = {
            name: [BlobBlock(_block(number)) for _, number in of] for name, of in groupby(blobs.pieces, itemgetter(0))
        }
        _at_once(lambda name: client.get_blob_client(name).commit_block_list(blocks[name]), blobs.names)

    def target(self, container: str) -> str:
        """Create a container in the target account and return its URL with a SAS."""
        return self._with_sas(self._target.create_container(container))

    def url(self, blobs: Blobs) -> str:
        """Return the container's URL with a SAS."""
        return self._with_sas(self._source.get_container_client(blobs.container))

    def wrong(self, blobs: Blobs, container: str) -> int:
        """Return how many blobs of a target container are missing, unexpected, or have other bytes."""
        client = self._target.get_container_client(container)
        found = {blob.name: blob.size for blob in client.list_blobs()}
        differ = found.items() ^ dict.fromkeys(blobs.names, blobs.size).items()
        wrong = {name for name, _ in differ}

        def differs(piece: tuple[str, int]) -> bool:
            name, number = piece
            expected = blobs.piece(name, number)
            return bool(client.download_blob(name, number * PIECE, len(expected)).readall() != expected)

        pieces = [piece for piece in blobs.pieces if piece[0] not in wrong]
        different = _at_once(differs, pieces)
        return len(wrong.union(name for (name, _), is_wrong in zip(pieces, different, strict=True) if is_wrong))

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


def _at_once(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, items))


def _block(number: int) -> str:
    return f"{number:06d}"
