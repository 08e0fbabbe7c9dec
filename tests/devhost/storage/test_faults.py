"""Injected faults (errors, delays, lost answers), and the log of requests."""

import threading
from datetime import timedelta

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

from tests.devhost.storage.cloud import Cloud, eventually, refused


def test_error_instead_of_the_request(cloud: Cloud) -> None:
    """The request has no effect, and the rule matches only its number of requests."""
    cloud.stack.control.add_fault({"operation": "PutBlob"}, {"status": 503, "code": "ServerBusy"}, times=2)
    blob = cloud.target()
    for _ in range(2):
        with refused(503, "ServerBusy"):
            blob.upload_blob(b"x")
    assert not blob.exists()
    blob.upload_blob(b"x")


def test_error_without_a_body_for_head(cloud: Cloud) -> None:
    cloud.stack.control.add_fault({"method": "HEAD"}, {"status": 404, "code": "ContainerBeingDeleted"})
    with refused(404, "ContainerBeingDeleted"):
        cloud.uploaded().get_blob_properties()


def test_connection_dropped_before(cloud: Cloud) -> None:
    cloud.stack.control.add_fault({"operation": "PutBlob"}, {"drop": True})
    blob = cloud.target()
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        blob.upload_blob(b"x")
    assert not blob.exists()


def test_answer_lost(cloud: Cloud) -> None:
    """The request takes effect once, and the event is queued."""
    cloud.stack.control.add_fault({"operation": "PutBlob"}, {"drop": True, "when": "after"})
    cloud.stack.control.forget_requests()
    blob = cloud.source()
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        blob.upload_blob(b"x")
    (entry,) = cloud.stack.control.requests(operation="PutBlob")

    assert (entry["status"], entry["answered"]) == (201, False)
    assert blob.download_blob().readall() == b"x"
    assert len(cloud.events()) == 1


def test_answer_lost_of_a_copy(cloud: Cloud) -> None:
    """The retry finds the client's own copy pending."""
    cloud.stack.control.copies(hold=True)
    cloud.stack.control.add_fault({"operation": "CopyBlob"}, {"drop": True, "when": "after"})
    source, target = cloud.uploaded(), cloud.target()
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        target.start_copy_from_url(cloud.readable(source))
    with refused(409, "PendingCopyOperation"):
        target.start_copy_from_url(cloud.readable(source))


def test_error_after_the_request_took_effect(cloud: Cloud) -> None:
    cloud.stack.control.add_fault({"operation": "PutBlob"}, {"status": 500, "when": "after"})
    blob = cloud.target()
    with refused(500, "InternalError"):
        blob.upload_blob(b"x")
    assert blob.exists()


def test_hold_until_released(cloud: Cloud) -> None:
    """Other requests are not delayed."""
    control = cloud.stack.control
    number = control.add_fault({"operation": "PutBlob", "blob": "^slow"}, {"hold": True})
    slow = cloud.target("slow")
    upload = threading.Thread(target=lambda: slow.upload_blob(b"x", overwrite=True))
    upload.start()
    eventually(lambda: control.faults()[0]["waiting"])
    cloud.target().upload_blob(b"overtaking")
    assert not slow.exists()

    control.remove_faults(number)
    upload.join()
    assert slow.exists()


def test_clock(cloud: Cloud) -> None:
    cloud.stack.control.add_fault({"operation": "PutBlob"}, {"clock": 3600})
    ahead, now = (cloud.target().upload_blob(b"x")["date"] for _ in range(2))
    assert timedelta(minutes=59) < ahead - now <= timedelta(hours=1)


def test_delay(cloud: Cloud) -> None:
    cloud.stack.control.add_fault({"path": "/target/"}, {"delay": 0.05})
    cloud.target().upload_blob(b"x")
    assert cloud.stack.control.faults()[0]["met"] == 1


@pytest.mark.parametrize(
    "match",
    [
        {"method": "PUT"},
        {"operation": "PutBlob"},
        {"account": "sharingtarget"},
        {"container": "target"},
        {"path": "^/sharingtarget/target/the%20one"},
        {"blob": "the one$"},
        {"user_agent": "azsdk-python"},
    ],
)
def test_matching(cloud: Cloud, match: dict[str, str]) -> None:
    cloud.stack.control.add_fault(match, {"status": 418})
    with pytest.raises(HttpResponseError):
        cloud.target("the one").upload_blob(b"x")


def test_not_matching(cloud: Cloud) -> None:
    cloud.stack.control.add_fault({"method": "PUT", "container": "source"}, {"status": 418})
    cloud.target().upload_blob(b"x")
    assert cloud.stack.control.faults()[0]["met"] == 0


def test_azurites_own_requests_match_no_rule_and_are_marked(cloud: Cloud) -> None:
    """A rule for HEAD does not match Azurite's own HEAD of a copy's source."""
    source, target = cloud.uploaded(), cloud.target()
    cloud.stack.control.forget_requests()
    cloud.stack.control.add_fault({"method": "HEAD"}, {"status": 503}, times=9)
    target.start_copy_from_url(cloud.readable(source), requires_sync=True)
    (own,) = cloud.stack.control.requests(internal=True)
    assert (own["operation"], own["blob"]) == ("HeadBlob", source.blob_name)


def test_requests_are_counted_by_name(cloud: Cloud) -> None:
    cloud.stack.control.forget_requests()
    blob = cloud.target("counted")
    blob.upload_blob(b"x", overwrite=True)
    blob.get_blob_properties()
    blob.set_blob_metadata({"a": "b"})
    list(cloud.targets.get_container_client("target").list_blobs())
    blob.delete_blob()
    names = [entry["operation"] for entry in cloud.stack.control.requests(account="sharingtarget", container="target")]
    assert names == ["PutBlob", "HeadBlob", "SetMetadata", "ListBlobs", "DeleteBlob"]


def test_log_holds_no_signature(cloud: Cloud) -> None:
    """Neither of the request nor of a copy's source."""
    cloud.target().start_copy_from_url(cloud.readable(cloud.uploaded()), requires_sync=True)
    assert "sig=" not in str(cloud.stack.control.requests())
    assert "sig=" not in str(cloud.stack.control.copies())


@pytest.mark.parametrize("rule", [{"blob": "("}, {"colour": "red"}])
def test_an_invalid_rule_is_refused(cloud: Cloud, rule: dict[str, str]) -> None:
    """A typo in a test must not look like a fault without effect."""
    with pytest.raises(ValueError, match=r"missing|unterminated|unknown"):
        cloud.stack.control.add_fault(rule, {"status": 500})
