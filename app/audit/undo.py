"""The undos of an instance, carried out from here because no engine does.

They carry the very keys of the saga, so that they happen once even if an engine comes back and
undoes the same.
"""

from __future__ import annotations

from typing import Any

from activities import ACTIVITIES
from activities.effect import Env, Fault
from workflows import of_record
from workflows.messages import Answer, Call


async def undo_without_engine(env: Env, record: Any) -> str:
    """Undoes the steps of an instance in reverse; says in a line what came of it.

    A parcel that has left (`too_late`) ends it: then the customer has the goods and we the money.
    """
    version = of_record(record["kind"], record["version"])
    steps = version.steps(version.input.model_validate(record["input"]))
    id, said = record["id"], []
    for step in reversed(steps):
        if step.undo is None:
            continue
        call = Call(
            instance=id,
            key=f"{id}/{step.undo_name}",
            body=step.undo_body,
            undoes=f"{id}/{step.name}",
        )
        answer = await _try(env, step.undo, call)
        said.append(f"{step.undo_name} {answer.result}")
        if answer.result == "too_late":
            break
    return ", ".join(said) or "nothing to undo"


async def _try(env: Env, operation: str, call: Call) -> Answer:
    try:
        answer = await ACTIVITIES[operation](env, call.model_dump(mode="json"))
    except (Fault, TimeoutError) as fault:
        return Answer(result="exhausted", reason=str(fault))
    assert isinstance(answer, Answer)
    return answer
