"""What the gate reads from messages, and how it names the points of an instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dapr.ext.workflow._durabletask.internal import protos as pb

from conformance.gates.instance import Instance, Kept
from conformance.gates.messages import (
    Activity,
    Turn,
    read_activity_answer,
    read_event,
    read_item,
    read_start,
    read_turn_answer,
)

ID = "order-1"
STREAM, NEXT_STREAM = "stream 1", "stream 2"


def started(execution: str = "e-1") -> Any:
    instance = pb.WorkflowInstance(instanceId=ID)
    instance.executionId.value = execution
    return pb.HistoryEvent(executionStarted=pb.ExecutionStartedEvent(workflowInstance=instance))


def result(task: int) -> Any:
    return pb.HistoryEvent(taskCompleted=pb.TaskCompletedEvent(taskScheduledId=task))


def failure(task: int) -> Any:
    return pb.HistoryEvent(taskFailed=pb.TaskFailedEvent(taskScheduledId=task))


def event(name: str) -> Any:
    return pb.HistoryEvent(eventRaised=pb.EventRaisedEvent(name=name))


def timer() -> Any:
    return pb.HistoryEvent(timerFired=pb.TimerFiredEvent(timerId=7))


def turn(past: int, *news: Any) -> Turn:
    request = pb.WorkflowRequest(instanceId=ID, pastEvents=[started()] * past, newEvents=news)
    found = read_item(pb.WorkItem(workflowRequest=request).SerializeToString())
    assert isinstance(found, Turn)
    return found


def activity(name: str, task: int) -> Activity:
    instance = pb.WorkflowInstance(instanceId=ID)
    request = pb.ActivityRequest(name=name, taskId=task, workflowInstance=instance)
    found = read_item(pb.WorkItem(activityRequest=request).SerializeToString())
    assert isinstance(found, Activity)
    return found


def wants(*tasks: int) -> Any:
    return [pb.WorkflowAction(id=task, scheduleTask=pb.ScheduleTaskAction()) for task in tasks]


def ends(status: Any) -> Any:
    return [pb.WorkflowAction(completeWorkflow=pb.CompleteWorkflowAction(workflowStatus=status))]


class Course:
    """An instance that is led through its life by messages."""

    def __init__(self) -> None:
        self.instance = Instance(ID)

    def turn(self, past: int, *news: Any, stream: str = STREAM) -> str:
        return self.instance.turn_dispatched(turn(past, *news), stream)

    def answer(self, actions: Any = ()) -> tuple[str, Callable[[], None]]:
        response = pb.WorkflowResponse(instanceId=ID, actions=actions)
        return self.instance.turn_answered(read_turn_answer(response.SerializeToString()))

    def activity(self, name: str, task: int, stream: str = STREAM) -> str:
        return self.instance.activity_dispatched(activity(name, task), stream)

    def done(self, task: int) -> tuple[str, Callable[[], None]]:
        response = pb.ActivityResponse(instanceId=ID, taskId=task)
        return self.instance.activity_answered(read_activity_answer(response.SerializeToString()))

    def whole_turn(self, past: int, *news: Any, actions: Any = ()) -> str:
        dispatched = self.turn(past, *news)
        acknowledge(self.answer(actions))
        return dispatched

    def whole_activity(self, name: str, task: int) -> str:
        dispatched = self.activity(name, task)
        acknowledge(self.done(task))
        return dispatched

    @property
    def idle(self) -> bool:
        return self.instance.idle


def acknowledge(answered: tuple[str, Callable[[], None]]) -> None:
    answered[1]()


@pytest.fixture
def course() -> Course:
    return Course()


def test_a_small_history_has_these_points(course: Course) -> None:
    course.whole_turn(0, started(), actions=wants(0))
    course.whole_activity("charge", 0)
    course.whole_turn(3, result(0), actions=wants(1))
    course.whole_activity("charge", 1)
    course.whole_turn(6, failure(1))
    course.whole_turn(8, timer(), event("Paid"), actions=ends(pb.ORCHESTRATION_STATUS_COMPLETED))
    assert course.instance.points == {
        "turn:1:dispatch": "turn 1, started",
        "turn:1:completion": "turn 1, started",
        "activity:charge:1:dispatch": "charge",
        "activity:charge:1:completion": "charge",
        "turn:2:dispatch": "turn 2, after charge",
        "turn:2:completion": "turn 2, after charge",
        "activity:charge:2:dispatch": "charge",
        "activity:charge:2:completion": "charge",
        "turn:3:dispatch": "turn 3, after charge failed",
        "turn:3:completion": "turn 3, after charge failed",
        "turn:4:dispatch": "turn 4, timer and event Paid",
        "turn:4:completion": "turn 4, timer and event Paid",
        "end:acknowledged": "ended COMPLETED",
    }
    assert list(course.instance.crossed_at) == list(course.instance.points)
    seen = course.instance.view()
    assert (seen["turns"], seen["completed"], seen["generations"]) == (4, {"charge": 2}, 1)
    assert (seen["ended"], seen["idle"], seen["held"]) == ("COMPLETED", True, None)


def test_history_that_the_worker_has_cached_counts_as_past() -> None:
    request = pb.WorkflowRequest(instanceId=ID, pastEvents=[started()], newEvents=[timer()])
    request.cachedHistory.eventCount = 4
    found = read_item(pb.WorkItem(workflowRequest=request).SerializeToString())
    assert isinstance(found, Turn)
    assert found.past == 5


def test_an_item_of_no_instance_is_not_read() -> None:
    assert read_item(pb.WorkItem(healthPing=pb.HealthPing()).SerializeToString()) is None


@pytest.mark.parametrize(
    ("status", "ended", "continued"),
    [
        (pb.ORCHESTRATION_STATUS_COMPLETED, "COMPLETED", False),
        (pb.ORCHESTRATION_STATUS_FAILED, "FAILED", False),
        (pb.ORCHESTRATION_STATUS_TERMINATED, "TERMINATED", False),
        (pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW, None, True),
    ],
)
def test_how_an_answer_ends_an_instance(status: Any, ended: str | None, continued: bool) -> None:
    response = pb.WorkflowResponse(instanceId=ID, actions=[*wants(3), *ends(status)])
    found = read_turn_answer(response.SerializeToString())
    assert (found.scheduled, found.ended, found.continued) == ((3,), ended, continued)


def test_starts_and_events_name_their_instance() -> None:
    start = pb.CreateInstanceRequest(instanceId=ID, name="order")
    raised = pb.RaiseEventRequest(instanceId=ID, name="Paid")
    assert read_start(start.SerializeToString()) == ID
    assert read_event(raised.SerializeToString()) == (ID, "Paid")


def test_what_is_dispatched_again_is_the_same_point(course: Course) -> None:
    assert course.turn(0, started()) == course.turn(0, started(), stream=NEXT_STREAM)
    acknowledge(course.answer(wants(0)))
    acknowledge(course.answer(wants(0)))
    again = course.activity("charge", 0), course.activity("charge", 0, NEXT_STREAM)
    assert again == ("activity:charge:1:dispatch",) * 2
    acknowledge(course.done(0))
    acknowledge(course.done(0))
    assert course.turn(3, result(0)) == "turn:2:dispatch"
    assert course.turn(3, result(0), event("Late")) == "turn:2:dispatch"
    assert course.instance.points["turn:2:dispatch"] == "turn 2, after charge"
    assert course.instance.view()["turns"] == 1


def test_the_next_generation_goes_on_counting(course: Course) -> None:
    course.whole_turn(0, started("e-1"), actions=wants(0))
    course.whole_activity("check", 0)
    again = ends(pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW)
    course.whole_turn(3, result(0), actions=again)
    assert course.instance.ended is None
    assert course.whole_turn(0, started("e-2"), actions=wants(0)) == "turn:3:dispatch"
    assert course.whole_activity("check", 0) == "activity:check:2:dispatch"
    assert course.whole_turn(3, result(0), actions=again) == "turn:4:dispatch"
    seen = course.instance.view()
    assert (seen["turns"], seen["generations"], seen["completed"]) == (4, 2, {"check": 2})


def test_an_id_that_runs_again_has_not_ended(course: Course) -> None:
    course.whole_turn(0, started("e-1"), actions=ends(pb.ORCHESTRATION_STATUS_FAILED))
    assert course.instance.ended == "FAILED"
    assert course.turn(0, started("e-2")) == "turn:2:dispatch"
    assert course.instance.ended is None


def test_it_is_idle_only_while_nothing_is_to_come(course: Course) -> None:
    assert not course.idle
    course.turn(0, started())
    _, turn_known = course.answer(wants(0))
    turn_known()
    assert not course.idle, "an activity was wanted"
    course.whole_activity("charge", 0)
    assert not course.idle, "no turn has had the result"
    course.turn(3, result(0))
    assert not course.idle, "a turn is on its way"
    acknowledge(course.answer())
    assert course.idle
    course.instance.event_raised("Paid")
    assert not course.idle, "no turn has had the event"
    course.whole_turn(4, event("PAID"))
    assert course.idle


def test_what_is_answered_twice_is_not_waited_for_again(course: Course) -> None:
    course.turn(0, started())
    course.turn(0, started())
    acknowledge(course.answer(wants(0)))
    course.whole_activity("charge", 0)
    course.turn(3, result(0))
    acknowledge(course.answer(wants(0)))  # the second answer of the first turn
    acknowledge(course.answer())
    assert course.idle


def test_an_activity_that_outlives_its_generation_is_over_when_it_is_answered(
    course: Course,
) -> None:
    course.whole_turn(0, started("e-1"), actions=wants(0))
    course.whole_activity("check", 0)
    course.activity("check", 0)
    course.whole_turn(3, result(0), actions=ends(pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW))
    course.whole_turn(0, started("e-2"))
    assert not course.idle, "it was dispatched again, and runs"
    assert course.done(0)[0] == "activity:check:1:completion"
    acknowledge(course.done(0))
    assert course.idle


def test_an_event_that_was_refused_is_not_waited_for(course: Course) -> None:
    course.whole_turn(0, started())
    _, failed = course.instance.event_raised("Paid")
    failed()
    assert course.idle
    assert course.instance.event_raised("Paid")[0] == "event:2"


def test_a_lost_stream_takes_what_it_had_brought(course: Course) -> None:
    course.turn(0, started())
    course.instance.kept[Kept("dispatch", "turn:1:dispatch", lambda go: None, STREAM)] = None
    course.instance.stream_lost(NEXT_STREAM)
    assert len(course.instance.kept) == 1
    course.instance.stream_lost(STREAM)
    assert course.instance.kept == {}
    assert [action for _, _, action in course.instance.messages] == ["lost"]


def test_events_are_counted_one_by_one(course: Course) -> None:
    raised = [course.instance.event_raised(name)[0] for name in ("a", "b", "a")]
    assert raised == ["event:1", "event:2", "event:3"]
