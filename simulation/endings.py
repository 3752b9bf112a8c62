"""The endings that a workflow may have whatever disturbs it, as the suite's promises read them.

`target.toml` says how each of its paths ends, because there a path is all that happens. Here
anything may happen: an order may be turned down after any of its steps, for any reason. So the
endings are made from one table: what a workflow does in order, what takes each step back, and what
is reported when it is over. Which of them an instance has to have is in its story.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from conformance.plan.contract import Ending
from conformance.plan.patterns import operation

NOTIFICATION = "notifier.send"
CONFIRM = f"{NOTIFICATION} template=order_confirmed"
SKIPPABLE: Mapping[str, str] = {"confirm": CONFIRM}  # a notification that is left out when it fails
ON_CALL = f"{NOTIFICATION} to=on-call"


@dataclass(frozen=True)
class Course:
    """What a workflow does: its steps in order, each with its undo, and how that may end.

    `done` and `undone` are outcomes; `template` is how the template that reports them begins.
    """

    steps: tuple[tuple[str, str | None], ...]
    done: tuple[str, ...]
    undone: tuple[str, ...]
    template: str | None = None

    @property
    def outcomes(self) -> frozenset[str]:
        """Every outcome that it may have."""
        return frozenset((*self.done, *self.undone))


@dataclass(frozen=True)
class Happened:
    """What the ledger of an instance is to be read with.

    `between` are notifications on the way, `late` undos that failed at first and were made good
    after the others, `by_hand` undos that a person has made, `skipped` steps without which it went
    on, and of which a person was notified.
    """

    between: tuple[str, ...] = ()
    late: frozenset[str] = field(default_factory=frozenset)
    by_hand: frozenset[str] = field(default_factory=frozenset)
    skipped: frozenset[str] = field(default_factory=frozenset)
    unordered: bool = False
    turned: bool = False


COURSES: Mapping[str, Course] = {
    "order_fulfilment": Course(
        steps=(
            ("payment.charge", "payment.refund"),
            ("inventory.reserve", "inventory.release"),
            ("carrier.create_shipment", "carrier.cancel_shipment"),
            (CONFIRM, None),
        ),
        done=("FULFILLED",),
        undone=("REFUSED", "COMPENSATED"),
        template="order",
    ),
    "task_processing": Course(
        steps=(
            ("directory.create_record", "directory.delete_record"),
            ("directory.reserve_capacity", "directory.release_capacity"),
            (f"{NOTIFICATION} template=task_assigned", f"{NOTIFICATION} template=task_cancelled"),
            ("directory.update_dashboard state=assigned", "directory.update_dashboard"),
        ),
        done=("DONE",),
        undone=("COMPENSATED",),
    ),
    "model_deployment": Course(
        steps=(
            ("ml.generate_data", None),
            ("ml.train", None),
            ("ml.push_artifact", "ml.delete_artifact"),
            ("ml.create_config", "ml.delete_config"),
            ("ml.authorize", "ml.restore_version"),
            ("ml.check_canary", None),
        ),
        done=("READY",),
        undone=("ROLLED_BACK",),
    ),
    "approval": Course(
        steps=(("approval.execute", None),),
        done=("APPROVED",),
        undone=("REJECTED", "TIMED_OUT", "CANCELLED"),
        template="approval",
    ),
    "document_signing": Course(
        steps=(("signing.send", "signing.void"),),
        done=("SIGNED",),
        undone=("DECLINED", "EXPIRED", "CANCELLED"),
        template="document",
    ),
    "health_monitor": Course(steps=(), done=("STOPPED",), undone=()),
}


def endings(kind: str, happened: Happened) -> tuple[Ending, ...]:
    """Every ending that a workflow may have, given what happened on the way."""
    whole = COURSES[kind]
    left = tuple(step for step in whole.steps if step[0] not in happened.skipped)
    courses = [whole] if left == whole.steps else [whole, replace(whole, steps=left)]
    return tuple(one for course in courses for one in _endings(kind, course, happened))


def _endings(kind: str, course: Course, happened: Happened) -> list[Ending]:
    found = [_ending(course, outcome, _do(course), (), happened) for outcome in course.done]
    if happened.turned:
        steps = [do for do, undo in course.steps if undo]
        found += [_ending(course, outcome, steps, (), happened) for outcome in course.done]
    for outcome in course.undone:
        for tried in _prefixes(kind, course):
            undos = [undo for _, undo in reversed(tried) if undo]
            found.append(_ending(course, outcome, [do for do, _ in tried], undos, happened))
    return found


def _do(course: Course) -> list[str]:
    return [do for do, _ in course.steps]


def _prefixes(kind: str, course: Course) -> Iterator[Sequence[tuple[str, str | None]]]:
    """What may have been done when it was turned down: any number of the first steps."""
    if kind == "approval":
        # Executing is the pivot: what is not approved has not begun.
        yield ()
        return
    for count in range(len(course.steps) + 1):
        yield course.steps[:count]


def _ending(
    course: Course,
    outcome: str,
    done: Sequence[str],
    undone: Sequence[str],
    happened: Happened,
) -> Ending:
    made = [undo for undo in undone if operation(undo) not in happened.by_hand]
    at_once = [undo for undo in made if operation(undo) not in happened.late]
    later = [undo for undo in made if operation(undo) in happened.late]
    report = f"{NOTIFICATION} template={course.template}_{outcome.lower()}"
    reported = (report,) if course.template else ()
    # An approval is executed only after it was decided.
    decided = course.template == "approval"
    way = (*happened.between, *done) if decided else (*done, *happened.between)
    effects = (*way, *at_once, *later, *reported)
    return Ending(outcome=outcome, effects=effects, unordered=happened.unordered)
