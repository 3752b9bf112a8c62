"""What a target has to say of itself: `target.toml`, read and checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conformance.errors import ConformanceError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class TargetError(ConformanceError):
    """A target that cannot be used; the message says where and why."""


class Declared(BaseModel):
    """Base of everything declared; unknown words are refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Request(Declared):
    """An HTTP request of a client that tries again until it is answered with one of `accept`.

    `claims` is an outcome: a client that gets a 2xx was promised that the instance ends so.
    """

    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = {}
    body: Any = None
    accept: tuple[int, ...] = (200, 201, 202, 204)
    claims: str | None = None


class SignedCallback(Declared):
    """A provider's callback, signed and sent by the witness."""

    source: str
    type: str
    reference: str
    data: dict[str, Any] = {}
    event_id: str | None = None


class Signal(Declared):
    """Something that an instance is told while it waits; sent after the signal before it.

    It is sent once the instance has nothing left to do (the sidecar gate sees that), its activity
    `after` (`name` or `name#n`, the n-th distinct one) was completed, and its look answers `when`
    (by JSON pointer). More than one request is sent at the same moment: a race.
    """

    requests: tuple[Request, ...] = ()
    callback: SignedCallback | None = None
    after: str | None = None
    when: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> Signal:
        if bool(self.requests) == (self.callback is not None):
            raise ValueError("a signal is either requests or a callback")
        return self


class Ending(Declared):
    """One way in which a path may end: the outcome, and the effects in the order of the ledger.

    An effect is `operation`, or `operation field=value …` where the operation alone does not tell.
    With `unordered`, only how often each occurs matters.
    """

    outcome: str
    effects: tuple[str, ...] = ()
    unordered: bool = False


class StatusProbe(Declared):
    """How the application is asked about an instance. Fields are JSON pointers (RFC 6901).

    It has ended when `ended` holds; `outcome` then tells how. `missing` is the status that says
    that there is no such instance.
    """

    url: str
    headers: dict[str, str] = {}
    ended: dict[str, str | tuple[str, ...]]
    outcome: str
    missing: int = 404


class PathSpec(Declared):
    """One way through a workflow, and everything that makes an instance take it."""

    name: Name
    summary: str = ""
    body: dict[str, Any] = {}
    script: tuple[dict[str, Any], ...] = ()
    signals: tuple[Signal, ...] = ()
    endings: Annotated[tuple[Ending, ...], Field(min_length=1)]
    settles: Seconds | None = None


class Workflow(Declared):
    """A workflow: how an instance is started and looked at, and the paths through it.

    A path's `body` is merged over the body of `start`. `alerts` are effects of which an instance
    has exactly those that its ending names: the same alert twice is a failure of its own.
    """

    name: Name
    start: Request
    look: StatusProbe | None = None
    alerts: tuple[str, ...] = ()
    paths: Annotated[tuple[PathSpec, ...], Field(min_length=1)]


class App(Declared):
    """How the application is run, as a process and as a container."""

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    image: str | None = None
    dockerfile: str | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    ready: str | None = None
    env: dict[str, str] = {}
    databases: dict[Name, dict[str, str]] = {}
    source: tuple[str, ...] = ()


class Providers(Declared):
    """The providers that the target calls, as `downstream/` reads them.

    `secrets` sign the callbacks of the sources that they name; `{webhook_secret}` those of others.
    """

    config: str
    secrets: dict[str, str] = {}


class Value(Declared):
    """A value that a command prints, run in the application's environment and folder."""

    command: Annotated[tuple[str, ...], Field(min_length=1)]


class Target(Declared):
    """An application under test. Durations are seconds.

    `settles` is how long an instance may take after the last fault was healed. `heals_wedge` says
    that the application restarts a sidecar that has lost its worker (Dapr's wedge).
    """

    name: Name
    app_id: str
    settles: Seconds = 60
    heals_wedge: bool = True
    app: App
    witness: Providers
    values: dict[str, str | Value] = {}
    look: StatusProbe | None = None
    workflows: Annotated[tuple[Workflow, ...], Field(min_length=1)]
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _complete(self) -> Target:
        for workflow in self.workflows:
            if self.look is None and workflow.look is None:
                raise ValueError(f"{workflow.name} has no look, nor has the target")
        names = [path.name for path in self.paths()]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"paths that occur twice: {', '.join(sorted(repeated))}")
        return self

    def paths(self) -> tuple[WorkflowPath, ...]:
        """Every path of every workflow."""
        return tuple(
            WorkflowPath.of(self, workflow, path)
            for workflow in self.workflows
            for path in workflow.paths
        )


@dataclass(frozen=True)
class WorkflowPath:
    """A path with all that its workflow and its target say of it; named `workflow/path`."""

    name: str
    summary: str
    workflow: str
    start: Request
    look: StatusProbe
    alerts: tuple[str, ...]
    script: tuple[dict[str, Any], ...]
    signals: tuple[Signal, ...]
    endings: tuple[Ending, ...]
    settles: float

    @classmethod
    def of(cls, target: Target, workflow: Workflow, path: PathSpec) -> WorkflowPath:
        """The path as its target means it."""
        look = workflow.look or target.look
        if look is None:
            raise TargetError(f"{workflow.name} has no look, nor has the target")
        start = workflow.start
        if path.body:
            start = start.model_copy(update={"body": {**(start.body or {}), **path.body}})
        return cls(
            name=f"{workflow.name}/{path.name}",
            summary=path.summary,
            workflow=workflow.name,
            start=start,
            look=look,
            alerts=workflow.alerts,
            script=path.script,
            signals=path.signals,
            endings=path.endings,
            settles=path.settles or target.settles,
        )

    @property
    def claims(self) -> frozenset[str]:
        """The outcomes that a signal of this path decides on."""
        requests = (request for signal in self.signals for request in signal.requests)
        return frozenset(request.claims for request in requests if request.claims)


def load(file: Path) -> Target:
    """Reads a target.

    Raises:
        TargetError: the file cannot be read, is not TOML, or says something wrong.
    """
    try:
        declared = tomllib.loads(file.read_text("utf-8"))
        return Target.model_validate({**declared, "folder": file.resolve().parent})
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise TargetError("\n".join([f"{file}:", *lines])) from error
    except OSError as error:
        said = error.strerror or str(error)
        hint = "`--target` names another one, `conformance init FOLDER` writes one"
        raise TargetError(f"{file}: {said.lower()}; {hint}") from error
    except ValueError as error:
        raise TargetError(f"{file}: {error}") from error
