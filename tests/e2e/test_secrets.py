"""I8, after everything else has run: no SAS, key or token where it does not belong."""

import re
from collections.abc import Iterator

from devhost.storage.config import KEY
from tests.e2e.desk import Desk
from tests.e2e.test_failures import messages

SECRETS = re.compile(rb"sig(=|%3D)(?!REMOVED)|code=(?!REMOVED)|" + re.escape(KEY).encode(), re.IGNORECASE)


def test_a_secret_in_a_message_is_removed_before_it_is_kept(desk: Desk) -> None:
    """Somebody may put a whole SAS URL into the queue."""
    known = {item["id"] for item in messages(desk)}
    desk.queue().send_message('{"look": "https://a.blob.core.windows.net/c/b?sv=1&sig=c2VjcmV0&code=c2VjcmV0"}')
    desk.until(lambda: [item for item in messages(desk) if item["id"] not in known], "it is kept")


def test_no_secret_is_left_anywhere(desk: Desk) -> None:
    """Logs of app and host, histories, queues, dead letters, answers; the emulator's own files are the service's."""
    found = {where: SECRETS.search(text) for where, text in everything(desk)}
    assert len(found) > 50
    assert {where: match[0] for where, match in found.items() if match} == {}


def everything(desk: Desk) -> Iterator[tuple[str, bytes]]:
    """Every place where the app or the host leaves something, with what is there."""
    yield "log", (desk.stack.state / "stack.log").read_bytes()
    for path in desk.stack.state.glob("host.sqlite*"):
        yield path.name, path.read_bytes()
    for name in ("blob-events", "blob-events-poison"):
        yield name, b"\n".join(str(message.content).encode() for message in desk.queue(name).peek_messages(32))
    container = desk.accounts["sharingstate"].get_container_client("dead-letters")
    for blob in container.list_blobs(include=["metadata"]):
        yield blob.name, str(blob.metadata).encode() + container.download_blob(blob.name).readall()
    for number, answer in enumerate(desk.answers):
        yield f"answer {number}", answer.encode()
