"""A model: generate data, train, push, configure, authorize; roll back what turns out bad.

Training takes hours, and no activity may: it is submitted under a key, then polled, and watched by
its heartbeat: silence for too long is a fault, hours of honest work are not. What fails for good
waits for a person's Retry and goes on at that step; a missing scoring configuration alone is
completed by the reconciliation loop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from workflows.definition import States, Workflow
from workflows.inputs import DAY, Input, Phrase, Retry, Timeout, Word
from workflows.instance import End, Yields
from workflows.messages import Settling
from workflows.saga import Saga
from workflows.steps import Step, Undo

GENERATE = Step("generate_data", "ml.generate_data", on_failure="ask")
# Each training that somebody orders has a key of its own.
TRAIN = Step("train", "ml.train", on_failure="ask", numbered=True)
PUSH = Step(
    "push_artifact",
    "ml.push_artifact",
    Undo("delete_artifact", "ml.delete_artifact"),
    on_failure="ask",
)
CONFIGURE = Step(
    "create_config", "ml.create_config", Undo("delete_config", "ml.delete_config"), "wait"
)
AUTHORIZE = Step("authorize", "ml.authorize", Undo("restore_version", "ml.restore_version"), "ask")
CANARY = Step("check_canary", "ml.check_canary", on_failure="ask")

# By step: while it runs, when it is done, when it has failed for good.
STATES = States(
    pending="PENDING",
    down="ROLLING_BACK",
    steps={
        "generate_data": ("DATA_GEN_IN_PROGRESS", "DATA_GEN_COMPLETE", "DATA_GEN_FAILED"),
        "train": ("TRAINING_IN_PROGRESS", "TRAINING_COMPLETE", "TRAINING_FAILED"),
        "push_artifact": ("PUSHING_IN_PROGRESS", "PUSHING_COMPLETE", "PUSH_FAILED"),
        "create_config": ("CONFIGURING", "CONFIGURING", "CONFIG_PENDING"),
        "authorize": ("CONFIGURING", "CONFIGURING", "AUTHORIZE_FAILED"),
        "check_canary": ("CONFIGURING", "CONFIGURING", "CANARY_FAILED"),
    },
)

Seconds = Annotated[float, Field(ge=0.1, le=DAY, allow_inf_nan=False, strict=False)]


class Deployment(Input):
    """A version of a model to be made and put live. Durations are seconds."""

    FORMER: ClassVar = (
        {"training_timeout": None, "retry": {"attempts": 5, "first": 0.5, "cap": 30.0}},
    )

    model: Word
    version: Word
    dataset: Phrase
    poll_interval: Seconds = 60
    heartbeat_timeout: Seconds = 900
    training_timeout: Timeout = 30 * DAY
    # Five tries, the last of them half a minute and more after the first: a blip is over then.
    retry: Retry = Retry(attempts=5, first=3)


def model_deployment(saga: Saga, deployment: Deployment) -> Yields[End]:
    """Ends READY, or ROLLED_BACK to the version that was live before."""
    model = {"model": deployment.model, "version": deployment.version}
    data = {**model, "dataset": deployment.dataset}
    training = Settling(
        ask="ml.poll_training",
        every=deployment.poll_interval,
        silence=deployment.heartbeat_timeout,
        within=deployment.training_timeout,
    )

    def forward() -> Yields[None]:
        yield from saga.step(GENERATE, data)
        yield from saga.step(replace(TRAIN, settling=training), data)
        yield from saga.step(PUSH, model)
        yield from saga.step(CONFIGURE, model)
        yield from saga.step(AUTHORIZE, model)
        yield from saga.step(CANARY, model)

    outcome = yield from saga.run(forward)
    return outcome.as_end("READY", "ROLLED_BACK")


V1 = Workflow(
    kind="model_deployment",
    version="v1",
    path="/deployments",
    input=Deployment,
    body=model_deployment,
    steps=(GENERATE, TRAIN, PUSH, CONFIGURE, AUTHORIZE, CANARY),
    done={"READY"},
    undone={"ROLLED_BACK"},
    states=STATES,
    revocable=True,
)
