"""The undos of an instance, carried out from here because no engine does.

They carry the very keys of the saga, so that they happen once even if an engine comes back and
undoes the same.
"""

from __future__ import annotations

from typing import Any

from activities import ACTIVITIES
from activities.effect import Env, Fault
from store import attempts
from workflows import of_record
from workflows.messages import Answer, Call
from workflows.steps import compensations


async def undo_without_engine(env: Env, record: Any) -> str:
    """Undoes the steps of an instance in reverse; says in a line what came of it.

    The first undo that is not done ends it: a parcel that nobody could stop may have left, and
    then the customer would have the goods and the money. A person is asked in any case.
    """
    id, workflow = record["id"], of_record(record)
    input = workflow.input.accepted(record["input"])
    said = []
    async with env.store.reading() as tx:
        ordinals = (await attempts.tried(tx, id)).ordinals
    for found in compensations(id, workflow.steps, ordinals):
        body = found.undo.body(input)
        call = Call(instance=id, key=f"{id}/{found.name}", body=body, undoes=found.undoes)
        answer = await _try(env, found.undo.do, call)
        said.append(f"{found.name} {answer.result}")
        if not answer.done:
            said.append("nothing before it was undone")
            break
    return ", ".join(said) or "nothing to undo"


async def _try(env: Env, operation: str, call: Call) -> Answer:
    try:
        answer = await ACTIVITIES[operation](env, call.model_dump(mode="json"))
    except (Fault, TimeoutError) as fault:
        return Answer(result="exhausted", reason=str(fault))
    assert isinstance(answer, Answer)
    return answer
