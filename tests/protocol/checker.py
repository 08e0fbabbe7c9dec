"""What must hold, said without the app's own words: from what an onlooker sees of source, target and final states."""

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.protocol.cloud import View

if TYPE_CHECKING:
    from tests.protocol.machine import Machine
    from tests.protocol.state import State

GAVE_UP = frozenset({"cancelled", "dead_lettered"})


class Violation(Exception):
    """A promise is broken."""


class Ghost(NamedTuple):
    """What the onlooker remembers: the versions that were whole at the target, the newest, what was written and copied."""

    whole: frozenset[int] = frozenset()
    written: int = 1
    copies: tuple[int, ...] = ()
    ends: frozenset[tuple[int, int, str]] = frozenset()
    """Transfer, attempt, final state: an attempt ends once."""
    begun: int = 0
    """The newest version of which a copy was ever begun at the target."""

    discards: frozenset[tuple[int, int]] = frozenset()
    """Transfer, attempt: a person discarded the letter of its failure."""

    @property
    def newest(self) -> int:
        """The newest version that was ever whole at the target."""
        return max(self.whole, default=0)

    def copied(self, transfer: int) -> "Ghost":
        """One copy more was begun, and nothing went wrong (I6: one is enough)."""
        count = self.copies[transfer] + 1
        if count > 1:
            raise Violation(f"a version was copied {count} times though nothing went wrong")
        return self._replace(copies=(*self.copies[:transfer], count, *self.copies[transfer + 1 :]))


def moved(ghost: Ghost, before: View, after: View, *, outsider: bool, makes_way: bool = False) -> Ghost:
    """One change of the world: nothing goes back (I3), nothing whole is lost (I2, rule 7), but what makes way for a newer version."""
    if after.whole < 0 or (after.whole and after.receipt != after.whole):
        raise Violation(f"the target's bytes are not what its receipt says: {after}")
    if after.whole and after.whole < ghost.newest:
        raise Violation(f"the target goes back from version {ghost.newest} to {after.whole}")
    if (
        before.whole
        and after.whole != before.whole
        and not (outsider or makes_way)
        and not (after.there and after.receipt > before.whole)
    ):
        raise Violation(f"version {before.whole} was whole and is lost: {after}")
    whole = ghost.whole | {after.whole} if after.whole else ghost.whole
    begun = max(ghost.begun, after.receipt if after.there else 0, before.whole + 1 if makes_way else 0)
    return ghost._replace(whole=whole, written=max(ghost.written, after.source), begun=begun)


def ended(model: "Machine", state: "State", transfer: int, output: dict[str, Any]) -> "State":
    """A transfer ends: `verified` is true (I2), `superseded` names what replaced it (I1)."""
    view, version = model.cloud.view(state.world), model.version(transfer)
    match output["state"]:
        case "verified":
            if version not in state.ghost.whole:
                raise Violation(f"version {version} is called verified and never was whole at the target: {view}")
            # One that reports late may find that a newer version was begun meanwhile, and given up: its bytes are gone.
            if not (view.whole >= version or state.ghost.begun > version):
                raise Violation(f"version {version} is called verified and is not there: {view}")
        case "superseded":
            if view.source == version:
                raise Violation(f"version {version} is called superseded and is the source's")
            successor = output["successor"]["etag"]
            if successor is not None and int(successor.removeprefix("E")) <= version:
                raise Violation(f"version {version} is called superseded by the older {successor}")
    end = (transfer, output["attempt"], str(output["state"]))
    others = [other for other in state.ghost.ends if other[:2] == end[:2] and other != end]
    # A racing start replaces an instance that has verified. If the source is gone by then, its size is not known: both are true.
    if others and not {others[0][2], end[2]} <= {"verified", "superseded"}:
        raise Violation(f"an attempt of transfer {model.name(transfer)} ended as {others[0][2]}, then as {end[2]}")
    return state._replace(ghost=state.ghost._replace(ends=state.ghost.ends | {end}))


def finished(model: "Machine", state: "State") -> None:
    """Nothing more happens, unless somebody wakes who sleeps."""
    view, finals = model.cloud.view(state.world), [model.final(instance) for instance in state.instances]
    for index, instance in enumerate(state.instances):
        if instance is not None and finals[index] is None:
            raise Violation(f"transfer {model.name(index)} never ends: {model.progress(instance)}")
    if view.there and (view.status not in {None, "success"} or not view.whole):
        raise Violation(f"something half-made stays: {view}")
    _newest(model, view, finals)
    for index, final in enumerate(finals):
        _recorded(model, state, index, final)


def is_discarded(state: "State", index: int) -> bool:
    """Whether a person discarded the letter of a transfer's newest attempt."""
    newest = max((attempt for transfer, attempt, _ in state.ghost.ends if transfer == index), default=0)
    return any(transfer == index and attempt >= newest for transfer, attempt in state.ghost.discards)


def _newest(model: "Machine", view: View, finals: list[str | None]) -> None:
    current = [final for index, final in enumerate(finals) if model.version(index) == view.source]
    if "superseded" in current:
        raise Violation("the source's own version is called superseded")
    if "verified" in current and view.whole != view.source:
        raise Violation(f"the newest version was verified and is not there: {view}")
    named = [index for index, final in enumerate(finals) if final == "superseded"]
    if named and view.source and not any(current):
        raise Violation(f"transfer {model.name(named[0])} was superseded and nobody carries the newest version")


def _recorded(model: "Machine", state: "State", index: int, final: str | None) -> None:
    """The letters and the records of ends agree with the final states (I9)."""
    identity = model.transfers[index].id
    letter, record = model.cloud.letter(state.world, identity), model.cloud.ended(state.world, identity)
    discarded = is_discarded(state, index)
    if (letter is not None) != (final == "dead_lettered" and not discarded):
        word = ", its letter was discarded" if discarded else ""
        raise Violation(f"transfer {model.name(index)} is {final}{word}, its open letter is {letter}")
    # What a terminated orchestration had in flight may still drop the record: its letter is there, and that is enough.
    terminated = any(what.startswith("terminate") for what in model.scenario.script)
    if final in GAVE_UP and not terminated and (record is None or record.ending.state != final):
        raise Violation(f"transfer {model.name(index)} is {final}, the record of its end says {record}")
