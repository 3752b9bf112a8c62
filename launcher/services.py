"""What each process of the stack is: its command, environment, ports, and when it is ready."""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from launcher.net import LOOPBACK, status
from launcher.settings import ROOT, Secrets, Settings

MARK = "STEADFAST_STACK"
"""In the environment of every child: the run directory it belongs to. It proves whose it is."""


@dataclass(frozen=True, slots=True)
class Service:
    """How to run one process, and how to see that it is ready."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    ports: Mapping[str, int]
    """As state.json shows them; "port" is the one that clients use."""
    ready: tuple[str, ...]
    """Paths that all have to answer 2xx, the last one last."""
    ready_port: int
    host: str = LOOPBACK
    cwd: Path = ROOT
    stop_signal: signal.Signals = signal.SIGTERM
    user: tuple[int, int] = (-1, -1)
    """uid and gid to become; only root can."""

    @property
    def kind(self) -> str:
        """The name without the number of the replica."""
        return self.name.partition("-")[0]

    def unready(self) -> str | None:
        """What it is that does not answer yet, or None when it is ready."""
        for path in self.ready:
            code = status(self.ready_port, path, self.host)
            if code is None or not 200 <= code < 300:
                return f"{self.name} (GET {path}: {code or 'no answer'})"
        return None


@dataclass(frozen=True, slots=True)
class SidecarPorts:
    """The ports of one sidecar."""

    http: int
    grpc: int
    internal: int
    metrics: int


def placement(settings: Settings, binary: Path) -> Service:
    """Dapr's placement service: which sidecar hosts which workflow. Keeps nothing on disk."""
    command = _flags(
        binary,
        port=settings.placement_port,
        listen_address=LOOPBACK,
        # Dapr 1.18.2 takes this flag and then listens everywhere; it answers healthz, no more.
        healthz_listen_address=LOOPBACK,
        healthz_port=settings.placement_healthz_port,
        metrics_listen_address=LOOPBACK,
        metrics_port=settings.placement_metrics_port,
        initial_cluster=f"dapr-placement-0={LOOPBACK}:{settings.placement_raft_port}",
    )
    return Service(
        name="placement",
        command=command,
        env=environment(settings),
        ports={"port": settings.placement_port, "healthz_port": settings.placement_healthz_port},
        ready=("/healthz",),
        ready_port=settings.placement_healthz_port,
    )


def scheduler(settings: Settings, binary: Path) -> Service:
    """Dapr's scheduler: timers and reminders, in an etcd of its own."""
    command = _flags(
        binary,
        port=settings.scheduler_port,
        listen_address=LOOPBACK,
        healthz_listen_address=LOOPBACK,
        healthz_port=settings.scheduler_healthz_port,
        metrics_listen_address=LOOPBACK,
        metrics_port=settings.scheduler_metrics_port,
        etcd_data_dir=settings.data_dir / "scheduler",
        etcd_client_listen_address=LOOPBACK,
        etcd_client_port=settings.scheduler_etcd_client_port,
        etcd_initial_cluster=(
            f"dapr-scheduler-server-0=http://{LOOPBACK}:{settings.scheduler_etcd_peer_port}"
        ),
    )
    return Service(
        name="scheduler",
        command=command,
        env=environment(settings),
        ports={"port": settings.scheduler_port, "healthz_port": settings.scheduler_healthz_port},
        ready=("/healthz",),
        ready_port=settings.scheduler_healthz_port,
    )


def daprd(
    settings: Settings, secrets: Secrets, binary: Path, name: str, ports: SidecarPorts
) -> Service:
    """A sidecar. It does not know the application's port: with one, each waits for the other."""
    command = _flags(
        binary,
        app_id=settings.app_id,
        resources_path=settings.components / settings.store,
        config=settings.components / "config.yaml",
        placement_host_address=f"{LOOPBACK}:{settings.placement_port}",
        scheduler_host_address=f"{LOOPBACK}:{settings.scheduler_port}",
        dapr_listen_addresses=LOOPBACK,
        dapr_http_port=ports.http,
        dapr_grpc_port=ports.grpc,
        dapr_internal_grpc_listen_address=LOOPBACK,
        dapr_internal_grpc_port=ports.internal,
        metrics_listen_address=LOOPBACK,
        metrics_port=ports.metrics,
    )
    env = {
        "DAPR_API_TOKEN": secrets.dapr_api_token,
        "DAPR_HOST_IP": LOOPBACK,
        "STATE_CONNECTION_STRING": settings.state_store,
    }
    return Service(
        name=name,
        command=command,
        env=environment(settings, env),
        ports={"port": ports.http, "grpc_port": ports.grpc, "metrics_port": ports.metrics},
        ready=("/v1.0/healthz/outbound",),
        ready_port=ports.http,
    )


def downstream(
    settings: Settings, secrets: Secrets, config: Path, command: Sequence[str] | None = None
) -> Service:
    """The witness: simulated providers, as `config` declares them, and their ledger."""
    arguments = {
        "--host": LOOPBACK,
        "--port": settings.downstream_port,
        "--data": settings.data_dir / "downstream",
        "--config": config,
        "--webhook-url": f"http://{LOOPBACK}:{settings.port}",
    }
    flags = (str(part) for pair in arguments.items() for part in pair)
    return Service(
        name="downstream",
        command=(*(command or (sys.executable, "-m", "downstream")), *flags),
        env=environment(
            settings,
            {
                "DOWNSTREAM_WEBHOOK_SECRET": secrets.webhook_secret,
                "DOWNSTREAM_WEBHOOK_SECRETS": json.dumps(secrets.webhook_secrets),
            },
        ),
        ports={"port": settings.downstream_port},
        ready=("/livez",),
        ready_port=settings.downstream_port,
    )


def app(
    settings: Settings,
    secrets: Secrets,
    name: str,
    port: int,
    sidecar: SidecarPorts,
    command: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Service:
    """The application. It binds its port first and looks for its sidecar afterwards."""
    given = app_environment(settings, secrets, port, sidecar)
    return Service(
        name=name,
        command=tuple(command or (sys.executable, "-m", "app")),
        env=environment(settings, {**given, **(env or {})}),
        ports={"port": port},
        ready=("/livez", "/readyz"),
        ready_port=port,
        host=reachable(settings.host),
    )


def sidecar_ports(settings: Settings) -> SidecarPorts:
    """The ports of the first application's sidecar."""
    return SidecarPorts(
        settings.dapr_http_port,
        settings.dapr_grpc_port,
        settings.dapr_internal_port,
        settings.dapr_metrics_port,
    )


def app_environment(
    settings: Settings, secrets: Secrets, port: int, sidecar: SidecarPorts
) -> dict[str, str]:
    """What the application, and its command line beside it, need to know."""
    return {
        "DAPR_RUNTIME_HOST": LOOPBACK,
        "DAPR_HTTP_PORT": str(sidecar.http),
        "DAPR_GRPC_PORT": str(sidecar.grpc),
        "DAPR_API_TOKEN": secrets.dapr_api_token,
        "STEADFAST_APP_ID": settings.app_id,
        "STEADFAST_HOST": settings.host,
        "STEADFAST_PORT": str(port),
        "STEADFAST_PUBLIC_URL": f"http://{reachable(settings.host)}:{settings.port}",
        "STEADFAST_DATABASE_URL": settings.database_url,
        "STEADFAST_DOWNSTREAM_URL": f"http://{LOOPBACK}:{settings.downstream_port}",
        "STEADFAST_WEBHOOK_SECRETS": json.dumps(
            {source: [secret] for source, secret in secrets.webhook_secrets.items()}
        ),
        "STEADFAST_JWT_KEYS": json.dumps({"launcher": {"secret": secrets.jwt_key}}),
        "STEADFAST_DECISION_KEY": secrets.decision_key,
    }


def token(secrets: Secrets, seconds: float = 86_400) -> str:
    """A bearer token for trying the application out: every role, for a day."""
    claims = {
        "sub": "ada",
        "roles": ["requester", "approver", "operator"],
        "aud": "steadfast",
        "exp": int(time.time() + seconds),
    }
    return jwt.encode(claims, secrets.jwt_key, "HS256", headers={"kid": "launcher"})


def reachable(host: str) -> str:
    """The address at which a server that listens on `host` can be called."""
    return LOOPBACK if host in ("0.0.0.0", "::") else host


def _flags(binary: Path, **flags: object) -> tuple[str, ...]:
    return (str(binary), *(f"--{name.replace('_', '-')}={value}" for name, value in flags.items()))


def environment(settings: Settings, own: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment, without what points at some other sidecar."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DAPR_")}
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    direct = ",".join(filter(None, (direct, LOOPBACK, "localhost")))
    return {
        **inherited,
        # A proxy for the outside world must not stand between two processes of one machine.
        "NO_PROXY": direct,
        "no_proxy": direct,
        "PYTHONUNBUFFERED": "1",
        MARK: str(settings.run_dir),
        **(own or {}),
    }
