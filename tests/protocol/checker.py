"""The guarantees, checked on an observer's view of source, target and final states, independent of the app's rules."""

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.protocol.cloud import View

if TYPE_CHECKING:
    from tests.protocol.machine import Machine
    from tests.protocol.state import State

WITH_RECORD = frozenset({"cancelled", "dead_lettered"})


class Violation(Exception):
    """A broken guarantee."""


class Ghost(NamedTuple):
    """The history that the checks need: versions that were complete at the target, copies, ends, discards.

    A version's rank is the position at which the source showed it: a file that is renamed away and back has two.
    """

    complete: frozenset[int] = frozenset()
    shown: tuple[int, ...] = (1,)
    """The versions that the source has shown, in order."""
    copies: tuple[int, ...] = ()
    ends: frozenset[tuple[int, int, str]] = frozenset()
    """Transfer, attempt and final state: an attempt ends once."""
    started: int = 0
    """The highest rank of a version whose copy was ever started at the target."""

    held: int = 0
    """The rank of the version that the target holds, when it became complete there."""

    newest: int = 0
    """The highest rank at which a version ever became complete at the target."""

    discards: frozenset[tuple[int, int]] = frozenset()
    """Transfer and attempt whose dead letter a person discarded."""

    verified: frozenset[tuple[int, int]] = frozenset()
    """Transfer and attempt that were shown as verified before they ended."""

    notified: frozenset[int] = frozenset()
    """Transfers whose recipient was notified."""

    @property
    def written(self) -> int:
        """The newest version that was ever at the source."""
        return max(self.shown)

    def rank(self, version: int) -> int:
        """The last rank of a version; 0 for none."""
        return max((number for number, shown in enumerate(self.shown, 1) if shown == version), default=0)

    def first_rank(self, version: int) -> int:
        """The first rank of a version."""
        return self.shown.index(version) + 1 if version in self.shown else 0

    def copied(self, transfer: int) -> "Ghost":
        """Count a copy that was started without a fault; one is enough."""
        count = self.copies[transfer] + 1
        if count > 1:
            raise Violation(f"a version was copied {count} times without a fault")
        return self._replace(copies=(*self.copies[:transfer], count, *self.copies[transfer + 1 :]))


def check_change(ghost: Ghost, before: View, after: View, *, outsider: bool, makes_way: bool = False) -> Ghost:
    """Check one change of the world: the target never goes back, and a complete version is lost only to a newer one (rule 7)."""
    if after.complete < 0 or (after.complete and after.receipt != after.complete):
        raise Violation(f"the target's bytes are not what its receipt says: {after}")
    if after.source not in {0, before.source}:
        ghost = ghost._replace(shown=(*ghost.shown, after.source))
    if before[1:] == after[1:]:
        return ghost
    rank = ghost.rank(after.complete)
    if after.complete and rank < ghost.newest:
        raise Violation(f"the target goes back from version {ghost.shown[ghost.newest - 1]} to {after.complete}")
    if (
        before.complete
        and after.complete != before.complete
        and not (outsider or makes_way)
        and not (after.exists and ghost.rank(after.receipt) > ghost.held)
    ):
        raise Violation(f"version {before.complete} was complete and is lost: {after}")
    complete = ghost.complete | {after.complete} if after.complete else ghost.complete
    held = ghost.held if after.complete == before.complete else rank
    started = max(ghost.started, ghost.rank(after.receipt) if after.exists else 0, ghost.held + 1 if makes_way else 0)
    return ghost._replace(complete=complete, held=held, newest=max(ghost.newest, rank), started=started)


def check_notice(state: "State", transfer: int, version: int) -> "State":
    """Check an event that a recipient gets: the version was complete at the target, even if a newer one replaces it now."""
    if version not in state.ghost.complete:
        raise Violation(f"version {version} is announced and was never complete at the target")
    return state._replace(ghost=state.ghost._replace(notified=state.ghost.notified | {transfer}))


def check_end(model: "Machine", state: "State", transfer: int, output: dict[str, Any]) -> "State":
    """Check the end of a transfer: `verified` is true, `superseded` names its successor."""
    view, version, ghost = model.cloud.view(state.world), model.version(transfer), state.ghost
    match output["state"]:
        case "verified":
            if version not in ghost.complete:
                raise Violation(f"version {version} is called verified and was never complete at the target: {view}")
            # A late `verified` is true even if a newer version's copy has started since and has failed: the bytes are gone.
            if not (
                ghost.rank(view.complete) >= ghost.first_rank(version) or ghost.started > ghost.first_rank(version)
            ):
                raise Violation(f"version {version} is called verified and is not at the target: {view}")
        case "superseded":
            if view.source == version and ghost.rank(version) == ghost.first_rank(version):
                raise Violation(f"version {version} is called superseded and is the source's")
            successor = output["successor"]["etag"]
            if successor is not None and ghost.rank(int(successor.removeprefix("E"))) <= ghost.first_rank(version):
                raise Violation(f"version {version} is called superseded by the older {successor}")
    if (transfer, output["attempt"]) in ghost.verified and output["state"] != "verified":
        raise Violation(f"version {version} was shown as verified, then its transfer ended as {output['state']}")
    end = (transfer, output["attempt"], str(output["state"]))
    others = [other for other in state.ghost.ends if other[:2] == end[:2] and other != end]
    # A concurrent start replaces a verified instance. If the source is deleted by then, its size is unknown: both are true.
    if others and not {others[0][2], end[2]} <= {"verified", "superseded"}:
        raise Violation(f"an attempt of transfer {model.name(transfer)} ended as {others[0][2]}, then as {end[2]}")
    return state._replace(ghost=state.ghost._replace(ends=state.ghost.ends | {end}))


def check_final_state(model: "Machine", state: "State") -> None:
    """Check a state in which nothing more happens, except that a delayed task may wake."""
    view, finals = model.cloud.view(state.world), [model.final(instance) for instance in state.instances]
    for index, instance in enumerate(state.instances):
        if instance is not None and finals[index] is None:
            raise Violation(f"transfer {model.name(index)} never ends: {model.progress(instance)}")
    if view.exists and (view.status not in {None, "success"} or not view.complete):
        raise Violation(f"an incomplete target stays: {view}")
    _check_newest(model, view, finals)
    if model.scenario.notify:
        _check_notified(model, state, finals)
    for index, final in enumerate(finals):
        _check_records(model, state, index, final)


def is_discarded(state: "State", index: int) -> bool:
    """Whether a person discarded the dead letter of a transfer's newest attempt."""
    newest = max((attempt for transfer, attempt, _ in state.ghost.ends if transfer == index), default=0)
    return any(transfer == index and attempt >= newest for transfer, attempt in state.ghost.discards)


def _check_newest(model: "Machine", view: View, finals: list[str | None]) -> None:
    current = [final for index, final in enumerate(finals) if model.version(index) == view.source]
    if "superseded" in current:
        raise Violation("the source's own version is called superseded")
    if "verified" in current and view.complete != view.source:
        raise Violation(f"the newest version was verified and is not at the target: {view}")
    named = [index for index, final in enumerate(finals) if final == "superseded"]
    if named and view.source and not any(current):
        raise Violation(f"transfer {model.name(named[0])} was superseded and no transfer carries the newest version")


def _check_notified(model: "Machine", state: "State", finals: list[str | None]) -> None:
    """Check that each verified version was announced, unless a newer one reached the target before that."""
    for index, final in enumerate(finals):
        newer = state.ghost.started > state.ghost.first_rank(model.version(index))
        if final == "verified" and index not in state.ghost.notified and not newer:
            raise Violation(f"transfer {model.name(index)} was verified and its recipient was never notified")


def _check_records(model: "Machine", state: "State", index: int, final: str | None) -> None:
    """Check that dead letters and records of ends agree with the final states."""
    identity = model.transfers[index].id
    letter, record = model.cloud.dead_letter(state.world, identity), model.cloud.ended(state.world, identity)
    discarded = is_discarded(state, index)
    if (letter is not None) != (final == "dead_lettered" and not discarded):
        suffix = ", its dead letter was discarded" if discarded else ""
        raise Violation(f"transfer {model.name(index)} is {final}{suffix}, its open dead letter is {letter}")
    # A late activity of a terminated orchestration may still drop the record; the dead letter is enough then.
    terminated = any(what.startswith("terminate") for what in model.scenario.script)
    if final in WITH_RECORD and not terminated and (record is None or record.ending.state != final):
        raise Violation(f"transfer {model.name(index)} is {final}, the record of its end says {record}")
