"""A model: generate data, train, push, configure, authorize; roll back what turns out bad.

Training takes hours, and no activity may: it is submitted under a key, then polled, and watched by
its heartbeat: silence for too long is a fault, hours of honest work are not. What fails for good
waits for a person's Retry and goes on at that step; a missing scoring configuration alone is
completed by the reconciliation loop.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from workflows.definition import Version
from workflows.instance import Yields
from workflows.messages import Message, RetryRule, Settling
from workflows.saga import Saga, Step

GENERATE = Step("generate_data", "ml.generate_data", on_failure="ask")
# Each training that somebody orders has a key of its own.
TRAIN = Step("train", "ml.train", on_failure="ask", numbered=True)
PUSH = Step(
    "push_artifact", "ml.push_artifact", "delete_artifact", "ml.delete_artifact", on_failure="ask"
)
CONFIGURE = Step(
    "create_config", "ml.create_config", "delete_config", "ml.delete_config", on_failure="wait"
)
AUTHORIZE = Step(
    "authorize", "ml.authorize", "restore_version", "ml.restore_version", on_failure="ask"
)
CANARY = Step("check_canary", "ml.check_canary", on_failure="ask")
STEPS = (GENERATE, TRAIN, PUSH, CONFIGURE, AUTHORIZE, CANARY)

# The states that people know, by step: while it runs, when it is done, when it has failed for good.
PHASES = {
    "generate_data": ("DATA_GEN_IN_PROGRESS", "DATA_GEN_COMPLETE", "DATA_GEN_FAILED"),
    "train": ("TRAINING_IN_PROGRESS", "TRAINING_COMPLETE", "TRAINING_FAILED"),
    "push_artifact": ("PUSHING_IN_PROGRESS", "PUSHING_COMPLETE", "PUSH_FAILED"),
    "create_config": ("CONFIGURING", "CONFIGURING", "CONFIG_PENDING"),
    "authorize": ("CONFIGURING", "CONFIGURING", "AUTHORIZE_FAILED"),
    "check_canary": ("CONFIGURING", "CONFIGURING", "CANARY_FAILED"),
}


class Deployment(Message):
    """What the workflow needs of a deployment. Durations are seconds."""

    id: str
    model: str
    version: str
    dataset: str
    poll_interval: float = 60
    heartbeat_timeout: float = 900
    training_timeout: float = 30 * 86_400
    # Five tries, the last of them half a minute and more after the first: a blip is over then.
    retry: RetryRule = Field(default_factory=lambda: RetryRule(attempts=5, first=3))


def model_deployment(saga: Saga, deployment: Deployment) -> Yields[str]:
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
    return (yield from saga.end("READY" if outcome.done else "ROLLED_BACK", outcome.reason))


def phase(step: str | None, *, done: bool, failed: bool, down: bool, outcome: str | None) -> str:
    """The state of a deployment in the words that people know."""
    if outcome or step is None:
        return outcome or "PENDING"
    if down:
        return "ROLLING_BACK"
    names = PHASES.get(step.split("/")[0])
    return names[2 if failed else 1 if done else 0] if names else "PENDING"


V1 = Version("model_deployment", "v1", model_deployment, Deployment, steps=lambda _: STEPS)
