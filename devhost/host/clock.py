"""Times as .NET prints them: UTC, up to seven decimals, without trailing zeros."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """Format a time as Newtonsoft writes a DateTime: `2026-01-01T00:00:00.12Z`."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"


def timestamp() -> str:
    """Return the current time as `stamp` formats it."""
    return stamp(now())


def parse(text: str) -> datetime:
    """Read a time that `stamp` or the SDK wrote; a time without a zone is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def sortable(moment: datetime) -> str:
    """Format a time for the store, so that the texts sort in order of time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def offset(text: str) -> str:
    """Format a time of the history as a DateTimeOffset: `+00:00` instead of `Z`."""
    return text.removesuffix("Z") + "+00:00"
