"""`kill -9` of the host at the worst moments: nothing is lost, nothing is done twice, nothing is verified early."""

from tests.e2e.desk import Desk

MIB = 1024 * 1024


def test_a_killed_host_goes_on_where_it_was(desk: Desk) -> None:
    """In the middle of fifty transfers: all are verified, and a kill costs at most a copy for each that it hit."""
    names = [f"killed/{number}" for number in range(50)]
    for name in names:
        desk.put(name, name.encode())
    desk.until(lambda: desk.requests(names)["CopyBlobFromUrl"] > 5, "some copies were asked for")
    desk.stack.kill_host()
    desk.stack.start_host()
    for name in names:
        assert desk.until_final(name)["state"] == "verified"
        assert desk.read(desk.target(name)) == name.encode()
    assert accepted(desk, names) == len(names)


def test_a_copy_that_was_accepted_and_not_recorded_is_adopted(desk: Desk) -> None:
    """The host dies between the service's acceptance and the recording of it: one copy, verified no sooner than it is done."""
    desk.container("sharingsource", "async")
    desk.container("sharingtarget", "async")
    desk.control.copies(hold=True)
    # The answer to the accepted copy never comes: the host is killed while it waits for it.
    rule = desk.control.add_fault({"operation": "CopyBlob", "blob": "adopted.bin"}, {"when": "after", "hold": True})
    try:
        desk.put("adopted.bin", b"adopted" * MIB, container="async")
        desk.until(lambda: pending(desk, "adopted.bin"), "the service has accepted the copy")
        desk.stack.kill_host()
        desk.control.remove_faults(rule)
        desk.stack.start_host()
        desk.until(lambda: desk.transfer_of("adopted.bin", "patient").body["state"] == "copying", "it is adopted")
    finally:
        desk.control.remove_faults()
        desk.control.copies(hold=False)
    assert desk.until_final("adopted.bin", "patient")["state"] == "verified"
    assert desk.read(desk.target("adopted.bin", "async")) == b"adopted" * MIB
    assert accepted(desk, ["adopted.bin"], "CopyBlob") == 1


def accepted(desk: Desk, names: list[str], operation: str = "CopyBlobFromUrl") -> int:
    """How many of the app's copies the service accepted."""
    wanted = set(names)
    seen = desk.control.requests(operation=operation, internal=False)
    return sum(request["blob"] in wanted and request["status"] == 202 for request in seen)


def pending(desk: Desk, name: str) -> bool:
    """Whether the service holds a pending copy of that name."""
    return any(copy["blob"] == name and copy["status"] == "pending" for copy in desk.control.copies()["copies"])
