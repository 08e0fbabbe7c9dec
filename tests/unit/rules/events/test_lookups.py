"""Events that name no version: renames and announcements (rule 21)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.codec import decode, encode
from rules.errors import Reason
from rules.events import lookups
from rules.events.decide import CANNOT_CARRY, EventDecision, Folder, Found, decide_on
from rules.events.lookups import Cause, Lookup
from rules.events.parse import BlobEvent, RejectedEvent, parse
from rules.events.write import lookup_event
from rules.jobs.model import MAX_RATE, JobKind, after_rename
from rules.routes.filters import FILTERED
from rules.routes.model import Place, Route
from rules.transfers.identity import JOB_ID_PATTERN
from rules.transfers.policies import Times
from tests.unit.samples import NAME, NOW, ROUTE, SOURCE, SOURCE_HOST, TARGET_HOST, body, event, event_grid, quick

SUBJECT = "/blobServices/default/containers/source/blobs/"
DFS = f"{SOURCE_HOST.replace('.blob.', '.dfs.')}/source/"
TIMES = Times()
RENAMED, ANNOUNCED, TIER_CHANGED = (Lookup(cause) for cause in (Cause.RENAMED, Cause.ANNOUNCED, Cause.TIER_CHANGED))


def renamed(name: str = NAME, kind: str = "BlobRenamed", **data: Any) -> dict[str, Any]:
    """The event of a file or directory that was renamed to `name`, as the Data Lake API raises it."""
    urls = {"destinationUrl": DFS + name, "sourceUrl": f"{DFS}in/_temporary/0/x"}
    sent = {"api": "RenameFile", "requestId": "1", **urls, "sequencer": "0442"} | data
    return {**event(), "type": f"Microsoft.Storage.{kind}", "subject": SUBJECT + name, "data": sent}


def by_sftp(name: str = NAME) -> dict[str, Any]:
    return renamed(name, api="SftpRename", identity="a user", destinationUrl=f"{SOURCE_HOST}/source/{name}")


def tier_changed(name: str = NAME, **data: Any) -> dict[str, Any]:
    """The event of a blob that was rehydrated, as in Microsoft's documentation."""
    sent = {
        "api": "SetBlobTier",
        "contentLength": 105_891,
        "blobType": "BlockBlob",
        "url": f"{SOURCE_HOST}/source/{name}",
        "accessTier": "Hot",
        "previousTier": "Archive",
        "sequencer": "0442",
    }
    return {
        **event(),
        "type": "Microsoft.Storage.BlobTierChanged",
        "subject": SUBJECT + name,
        "data": {key: value for key, value in (sent | data).items() if value is not None},
    }


def decide(message: dict[str, Any], *routes: Route) -> EventDecision:
    return decide_on(body(message), routes or (ROUTE,))


class TestRenamedFile:
    @pytest.mark.parametrize("message", [renamed(), by_sftp(), renamed(api="New")])
    def test_leads_to_a_lookup(self, message: dict[str, Any]) -> None:
        """It has no ETag, and its URL is on the host of either API."""
        assert decide(message) == EventDecision(found=Found(RENAMED, NAME, (ROUTE,)))

    def test_is_recognized_in_the_schema_of_event_grid(self) -> None:
        data = renamed()["data"]
        message = {
            **event_grid(),
            "eventType": "Microsoft.Storage.BlobRenamed",
            "subject": SUBJECT + NAME,
            "data": data,
        }
        assert decide(message).found == Found(RENAMED, NAME, (ROUTE,))

    def test_of_several_routes_is_one_lookup(self) -> None:
        second = replace(ROUTE, name="second", target=Place(TARGET_HOST, "second"))
        other = replace(ROUTE, name="other", source=Place(SOURCE_HOST, "source", "elsewhere/"))
        assert decide(renamed(), ROUTE, second, other).found == Found(RENAMED, NAME, (ROUTE, second))

    def test_that_a_filter_excludes_is_ignored(self) -> None:
        filtering = replace(ROUTE, exclude=("_temporary/*",))
        assert decide(renamed("in/_temporary/0/x"), filtering) == EventDecision(ignored=FILTERED)

    @pytest.mark.parametrize("name", ["elsewhere/a", "in"])
    def test_of_no_route_is_ignored(self, name: str) -> None:
        assert decide(renamed(name)) == EventDecision(ignored="no route carries this blob")

    def test_with_the_url_of_another_blob_is_rejected(self) -> None:
        found = decide(renamed(destinationUrl=DFS + "in/other"))
        assert found.rejection is not None
        assert (found.rejection.reason, found.found) == (Reason.NOT_ALLOWED, None)

    def test_with_a_name_that_cannot_be_carried_is_rejected(self) -> None:
        found = decide(renamed("in/../a"))
        assert found.rejection is not None
        assert found.rejection.reason is Reason.INVALID_NAME

    @pytest.mark.parametrize("data", [{"destinationUrl": 7}, {"destinationUrl": None}])
    def test_without_a_url_is_malformed(self, data: dict[str, Any]) -> None:
        found = decide(renamed(**data))
        assert found.rejection == RejectedEvent(Reason.MALFORMED, "`data.destinationUrl` is not a string")

    def test_takes_a_damaged_name_from_its_url(self) -> None:
        message = {**renamed("in/\U0001f389.csv"), "subject": f"{SUBJECT}in/\ufffd\ufffd.csv"}
        assert decide(message).found == Found(RENAMED, "in/\U0001f389.csv", (ROUTE,))


class TestAnnouncement:
    @pytest.mark.parametrize("api", ["CreateFile", "SftpCreate", "SftpWrite"])
    def test_leads_to_a_lookup(self, api: str) -> None:
        assert decide(event(api=api)) == EventDecision(found=Found(ANNOUNCED, NAME, (ROUTE,)))

    @pytest.mark.parametrize("change", [{"url": f"{SOURCE_HOST}/source/in/other"}, {"api": "SftpWrite", "url": "x"}])
    def test_that_would_be_rejected_is_ignored(self, change: dict[str, Any]) -> None:
        """The event with the content is rejected; one dead letter for a file is enough."""
        found = decide(event(**{"api": "CreateFile"} | change))
        assert found == EventDecision(ignored=CANNOT_CARRY)

    def test_is_looked_up_although_a_filter_excludes_empty_files(self) -> None:
        """The file is empty only now."""
        skipping = replace(ROUTE, min_size=1)
        assert decide(event(api="CreateFile", contentLength=0), skipping).found == Found(ANNOUNCED, NAME, (skipping,))

    def test_with_a_damaged_name_is_ignored(self) -> None:
        name = "in/\ufffd\ufffd"
        message = {**event(api="CreateFile", url=f"{SOURCE_HOST}/source/{name}"), "subject": SUBJECT + name}
        assert decide(message).ignored


class TestTierChanged:
    def test_leads_to_a_lookup(self) -> None:
        assert decide(tier_changed()) == EventDecision(found=Found(TIER_CHANGED, NAME, (ROUTE,)))

    def test_leads_to_a_lookup_without_the_tiers(self) -> None:
        """They are in events since August 2024."""
        message = tier_changed(accessTier=None, previousTier=None)
        assert decide(message) == EventDecision(found=Found(TIER_CHANGED, NAME, (ROUTE,)))

    @pytest.mark.parametrize("tiers", [("Archive", "Hot"), ("Cool", "Hot"), ("Hot", "Cold"), ("Archive", None)])
    def test_that_is_no_rehydration_is_ignored(self, tiers: tuple[str, str | None]) -> None:
        found = decide(tier_changed(accessTier=tiers[0], previousTier=tiers[1]))
        assert (found.ignored != "", found) == (True, EventDecision(ignored=found.ignored))

    @pytest.mark.parametrize("name", ["out/a", "in/a/../b"])
    def test_of_a_blob_that_no_route_can_carry_is_ignored(self, name: str) -> None:
        """Its upload was rejected: one dead letter is enough."""
        found = decide(tier_changed(name))
        assert (found.ignored != "", found) == (True, EventDecision(ignored=found.ignored))

    def test_with_a_name_that_only_one_route_can_carry_is_looked_up_for_that_one(self) -> None:
        longer = replace(ROUTE, name="longer", target=Place(TARGET_HOST, "second", "x" * 1_024))
        assert decide(tier_changed(), longer, ROUTE) == EventDecision(found=Found(TIER_CHANGED, NAME, (ROUTE,)))

    def test_without_a_url_is_malformed(self) -> None:
        found = decide(tier_changed(url=7))
        assert found.rejection == RejectedEvent(Reason.MALFORMED, "`data.url` is not a string")


class TestRenamedDirectory:
    @pytest.mark.parametrize(
        ("name", "prefix"),
        [("in/day=1", "in/day=1/"), ("in", "in/"), ("in/a/b", "in/a/b/")],
    )
    def test_leads_to_a_reconcile_of_its_names(self, name: str, prefix: str) -> None:
        found = decide(renamed(name, "DirectoryRenamed"))
        assert found == EventDecision(folders=(Folder(ROUTE, prefix, event()["id"]),))

    def test_that_contains_the_routes_prefix_affects_the_whole_route(self) -> None:
        deep = replace(ROUTE, source=Place(SOURCE_HOST, "source", "raw/2026/in/"))
        assert decide(renamed("raw", "DirectoryRenamed"), deep).folders[0].prefix == "raw/2026/in/"

    def test_affects_every_route_that_it_touches(self) -> None:
        whole = replace(ROUTE, name="whole", source=Place(SOURCE_HOST, "source"))
        apart = replace(ROUTE, name="apart", source=Place(SOURCE_HOST, "source", "out/"))
        folders = decide(renamed("in/day=1", "DirectoryRenamed"), ROUTE, whole, apart).folders
        assert [(folder.route.name, folder.prefix) for folder in folders] == [
            ("default", "in/day=1/"),
            ("whole", "in/day=1/"),
        ]

    @pytest.mark.parametrize("name", ["other", "inside", "i"])
    def test_beside_every_route_is_ignored(self, name: str) -> None:
        assert decide(renamed(name, "DirectoryRenamed")) == EventDecision(
            ignored="no route carries blobs of this directory"
        )

    @pytest.mark.parametrize(
        ("name", "excluded"),
        [
            ("in/_temporary/0/task_1", True),
            ("in/table/_temporary", True),
            ("in/table", False),
            ("in/x.tmp", False),
            ("in", False),
        ],
    )
    def test_whose_every_name_a_filter_excludes_is_ignored(self, name: str, excluded: bool) -> None:  # noqa: FBT001
        """A Spark job renames a directory below `_temporary` for each of its tasks."""
        filtering = replace(ROUTE, exclude=("_temporary/*", "*.tmp"))
        found = decide(renamed(name, "DirectoryRenamed"), filtering)
        assert (found.ignored == FILTERED, found.folders == ()) == (excluded, excluded)

    def test_with_the_url_of_another_directory_is_rejected(self) -> None:
        found = decide(renamed("in/day=1", "DirectoryRenamed", destinationUrl=DFS + "in/day=2"))
        assert found.rejection is not None
        assert (found.rejection.reason, found.folders) == (Reason.NOT_ALLOWED, ())

    def test_has_one_reconcile_per_event_route_and_directory(self) -> None:
        folder = Folder(ROUTE, "in/day=1/", "an event")
        others = [
            replace(folder, event_id="another"),
            replace(folder, prefix="in/"),
            replace(folder, route=replace(ROUTE, name="x")),
        ]
        job = after_rename(folder, NOW)
        assert JOB_ID_PATTERN.fullmatch(job.id)
        assert after_rename(folder, NOW + timedelta(days=1)).id == job.id
        assert len({job.id, *(after_rename(other, NOW).id for other in others)}) == 4
        assert (job.kind, job.route, job.prefix, job.rate) == (JobKind.RECONCILE, "default", "in/day=1/", MAX_RATE)


class TestMessage:
    @given(
        lookup=st.builds(
            Lookup, st.sampled_from(Cause), st.just(NOW), st.sampled_from(["", "0x8DD0"]), st.integers(), st.booleans()
        )
    )
    @quick
    def test_leads_to_the_lookup_that_it_was_written_for(self, lookup: Lookup) -> None:
        assert decode(Lookup, encode(lookup)) == lookup
        assert decide_on(lookup_event(ROUTE, NAME, lookup, NOW), (ROUTE,)).found == Found(lookup, NAME, (ROUTE,))

    @pytest.mark.parametrize("sent", [None, [], {}, {"cause": "other"}, {"cause": "renamed", "count": "x"}, "x"])
    def test_that_the_app_did_not_write_is_malformed(self, sent: Any) -> None:
        message = {**event(), "type": "BlobDataSharing.Lookup", "data": {"url": event()["data"]["url"], "lookup": sent}}
        found = parse(body(message))
        assert found == RejectedEvent(Reason.MALFORMED, "`data.lookup` is not a lookup of this app")

    def test_without_a_url_is_malformed(self) -> None:
        message = {**event(), "type": "BlobDataSharing.Lookup", "data": {"lookup": encode(RENAMED)}}
        assert not isinstance(parse(body(message)), BlobEvent)


class TestPauses:
    def test_a_renamed_file_is_looked_up_immediately_an_announced_one_later(self) -> None:
        assert lookups.first_pause(RENAMED, TIMES) == 0
        assert lookups.first_pause(ANNOUNCED, TIMES) == 300
        assert lookups.first_pause(TIER_CHANGED, TIMES) == 0

    @pytest.mark.parametrize(
        ("lookup", "size", "hours", "complete"),
        [
            (RENAMED, 0, 0, True),
            (TIER_CHANGED, 0, 0, True),
            (ANNOUNCED, 1_000, 0, False),
            (replace(ANNOUNCED, etag=SOURCE.etag), 1_000, 0, True),
            (replace(ANNOUNCED, etag="0xOLDER"), 1_000, 100, False),
            (replace(ANNOUNCED, etag=SOURCE.etag), 0, 23.9, False),
            (replace(ANNOUNCED, etag=SOURCE.etag), 0, 24, True),
        ],
    )
    def test_a_file_is_complete_once_it_rests(self, lookup: Lookup, size: int, hours: float, complete: bool) -> None:  # noqa: FBT001
        source, now = replace(SOURCE, size=size), NOW + timedelta(hours=hours)
        assert lookups.is_complete(replace(lookup, since=NOW), source, now) is complete

    def test_a_growing_file_is_looked_up_less_and_less_often(self) -> None:
        pauses, lookup = list[int](), ANNOUNCED
        for _ in range(6):
            following = lookups.after_growing(lookup, SOURCE, TIMES)
            pauses, lookup = [*pauses, following.pause], following.lookup
        assert pauses == [300, 600, 1_200, 2_400, 3_600, 3_600]
        assert (lookup.etag, lookup.count) == (SOURCE.etag, 6)

    @pytest.mark.parametrize(("count", "pause"), [(0, 30), (1, 60), (4, 480), (5, 600), (10**9, 600), (-5, 30)])
    def test_a_running_transfer_is_looked_up_less_and_less_often(self, count: int, pause: int) -> None:
        following = lookups.after_running(replace(RENAMED, count=count, settled=True), TIMES)
        assert (following.pause, following.lookup.count, following.lookup.settled) == (pause, count + 1, False)

    def test_a_match_is_confirmed_once_after_settle(self) -> None:
        following = lookups.after_match(RENAMED, TIMES)
        assert following is not None
        assert following.pause == TIMES.settle
        assert lookups.after_match(following.lookup, TIMES) is None
