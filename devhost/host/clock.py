"""Times as .NET prints them: UTC, up to seven decimals, trailing zeros cut off."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current time, aware of its zone."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """`2026-01-01T00:00:00.12Z`: what Newtonsoft writes for a DateTime."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"


def parse(text: str) -> datetime:
    """The moment that `stamp`, or the SDK's `fireAt`, names; a time without a zone counts as UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def sortable(moment: datetime) -> str:
    """A text that sorts like the moment: what the store keeps."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(text: str) -> str:
    """A stored time cut to whole seconds, as the status API shows it."""
    return text[:19] + "Z"


def offset(text: str) -> str:
    """A time of the history as a DateTimeOffset prints it: `+00:00` for `Z`."""
    return text.removesuffix("Z") + "+00:00"
