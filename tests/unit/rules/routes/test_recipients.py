"""Parsing the recipient of a route."""

import json
from typing import Any

import pytest

from rules.routes.config import InvalidRoute, read
from rules.routes.model import Recipient

TENANT = "72F988BF-86F1-41AF-91AB-2D7CD011DB47"
QUEUE = "https://partner.queue.core.windows.net/arrivals"
TOPIC = "https://arrivals.westeurope-1.eventgrid.azure.net/api/events"
SECRET = "dG9wc2VjcmV0"
EMULATOR = {"source": "http://127.0.0.1:10000/one/source/", "target": "http://127.0.0.1:10000/two/target/"}
AZURE = {"source": "https://one.blob.core.windows.net/ccc/", "target": "https://two.blob.core.windows.net/ccc/"}


def parse(notify: Any, **route: str) -> Recipient | None:
    return read(json.dumps([{"name": "default", **AZURE, **route, "notify": notify}]))[0].notify


def refusal(notify: Any) -> str:
    with pytest.raises(InvalidRoute) as caught:
        parse(notify)
    return str(caught.value)


@pytest.mark.parametrize(
    ("notify", "recipient"),
    [
        (QUEUE, Recipient("https://partner.queue.core.windows.net", "arrivals")),
        ("https://a1b.z12.queue.storage.azure.net/a-1", Recipient("https://a1b.z12.queue.storage.azure.net", "a-1")),
        ("https://a1b.queue.core.chinacloudapi.cn/abc", Recipient("https://a1b.queue.core.chinacloudapi.cn", "abc")),
        (TOPIC, Recipient(TOPIC)),
        (
            "https://t.usgovvirginia-1.eventgrid.azure.us/api/events",
            Recipient("https://t.usgovvirginia-1.eventgrid.azure.us/api/events"),
        ),
        (
            {"url": QUEUE, "tenant": TENANT},
            Recipient("https://partner.queue.core.windows.net", "arrivals", TENANT.lower()),
        ),
        ({"url": TOPIC, "tenant": TENANT}, Recipient(TOPIC, tenant=TENANT.lower())),
    ],
)
def test_a_queue_or_a_topic_is_a_recipient(notify: Any, recipient: Recipient) -> None:
    assert parse(notify) == recipient


@pytest.mark.parametrize(
    ("notify", "recipient"),
    [
        ("http://127.0.0.1:10001/partner/arrivals", Recipient("http://127.0.0.1:10001/partner", "arrivals")),
        ("http://localhost:7071/api/events", Recipient("http://localhost:7071/api/events")),
    ],
)
def test_a_recipient_may_be_local(notify: str, recipient: Recipient) -> None:
    assert parse(notify, **EMULATOR) == recipient


@pytest.mark.parametrize(
    "notify",
    [
        "",
        "arrivals",
        f"{QUEUE}?sv=2024-11-04&sig={SECRET}",
        f"https://user:{SECRET}@partner.queue.core.windows.net/arrivals",
        f"http://user:{SECRET}@127.0.0.1:10001/partner/arrivals",
        "http://partner.queue.core.windows.net/arrivals",
        "http://partner/one/arrivals",
        "http://[/one/arrivals",
        "https://partner.queue.core.windows.net/Arrivals",
        "https://partner.queue.core.windows.net/a--b",
        "https://partner.queue.core.windows.net/arrivals/",
        "https://partner.blob.core.windows.net/arrivals",
        "https://partner.queue.core.windows.net.example.org/arrivals",
        "https://arrivals.westeurope-1.eventgrid.azure.net/",
        "https://arrivals.westeurope-1.eventgrid.azure.net.example.org/api/events",
    ],
)
def test_anything_else_is_refused_without_its_secret(notify: str) -> None:
    message = refusal(notify)
    assert message.startswith("route 'default': `notify` ")
    assert "must be https://<account>.queue.core.windows.net/<queue>" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    "notify", [None, 1, [QUEUE], {}, {"url": QUEUE}, {"url": 1, "tenant": TENANT}, {"url": QUEUE, "tenant": 1}]
)
def test_a_recipient_is_text_or_text_with_a_tenant(notify: Any) -> None:
    assert refusal(notify) == 'route \'default\': `notify` must be a URL, or {"url": "https://...", "tenant": "<GUID>"}'


def test_the_tenant_of_a_recipient_is_a_guid() -> None:
    assert "The owner of the recipient finds it with" in refusal({"url": QUEUE, "tenant": "contoso.com"})


def test_an_emulator_has_no_tenant() -> None:
    with pytest.raises(InvalidRoute, match="use the URL alone as `notify`"):
        parse({"url": "http://127.0.0.1:10001/partner/arrivals", "tenant": TENANT}, **EMULATOR)


def test_the_endpoints_in_other_tenants() -> None:
    (route,) = read(
        json.dumps(
            [
                {
                    "name": "default",
                    "source": AZURE["source"],
                    "target": {"url": AZURE["target"], "tenant": TENANT},
                    "notify": {"url": QUEUE, "tenant": TENANT},
                }
            ]
        )
    )
    tenant = TENANT.lower()
    assert route.foreign_endpoints() == [
        ("https://two.blob.core.windows.net", tenant),
        ("https://partner.queue.core.windows.net", tenant),
    ]


def test_one_account_is_in_one_tenant() -> None:
    first = {"name": "first", **AZURE, "notify": QUEUE}
    second: dict[str, Any] = {**first, "name": "second", "target": "https://two.blob.core.windows.net/other/"}
    assert len(read(json.dumps([first, second]))) == 2
    second["notify"] = {"url": QUEUE.replace("arrivals", "others"), "tenant": TENANT}
    with pytest.raises(
        InvalidRoute, match="'first' and 'second' notify one account or topic; give both the same tenant"
    ):
        read(json.dumps([first, second]))
