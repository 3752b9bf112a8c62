"""Settings of the launcher, from the environment (prefix ``STEADFAST_``) or from Python."""

import json
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from launcher.errors import LauncherError
from launcher.files import write_private
from launcher.net import LOOPBACK, free_ports

ROOT = Path(__file__).resolve().parent.parent
"""The folder that our packages are in: the checkout, or where pip has installed them."""
_SHIPPED = Path(__file__).resolve().with_name("shipped")
INSTALLED = _SHIPPED.is_dir()
"""Whether this came out of a wheel, which carries in this package what a checkout has beside it."""
RESOURCES = _SHIPPED if INSTALLED else ROOT
"""The folder of components/ and runtime/."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Everything that may differ between two stacks on one machine.

    Except for the numbers everybody knows from Dapr, the ports lie below the range from which
    the kernel takes source ports, where an outgoing connection can hold them at any moment.
    """

    model_config = SettingsConfigDict(
        env_prefix="STEADFAST_", env_ignore_empty=True, validate_default=True, frozen=True
    )

    host: str = LOOPBACK
    """Where the application listens. Everything else stays on loopback."""
    port: Port = 8000
    downstream_port: Port = 8100

    dapr_http_port: Port = 3500
    dapr_grpc_port: Port = 50001
    dapr_internal_port: Port = 3502
    dapr_metrics_port: Port = 3503

    placement_port: Port = 50005
    placement_healthz_port: Port = 3511
    placement_metrics_port: Port = 3512
    placement_raft_port: Port = 3513

    scheduler_port: Port = 50006
    scheduler_healthz_port: Port = 3521
    scheduler_metrics_port: Port = 3522
    scheduler_etcd_client_port: Port = 3523
    scheduler_etcd_peer_port: Port = 3524

    app_id: str = "steadfast"
    run_dir: Path = Path(".run")
    """Data, logs, secrets and state.json of one stack; relative to the checkout if there is one."""
    store: Literal["sqlite", "postgres"] = "sqlite"
    postgres_url: str | None = Field(default=None, repr=False)
    """``postgresql://user:password@host:port/database``, for ``store="postgres"``."""
    dapr_bin: Path | None = None
    """A folder with daprd, placement and scheduler, to be used instead of any other."""
    components: Path = RESOURCES / "components"
    """What sidecars are configured with: ``config.yaml``, and a folder for each store."""

    @field_validator("run_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.resolve() if INSTALLED else (ROOT / path).resolve()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.store == "postgres" and not self.postgres_url:
            raise ValueError(
                "the store postgres needs its address: "
                "make run STORE=postgres POSTGRES_URL=postgresql://user:password@host:5432/database"
            )
        return self

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Read the environment.

        Raises:
            LauncherError: when a value is not usable; the message names its variable.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            lines = (
                f"{''.join(f'STEADFAST_{part}: '.upper() for part in problem['loc'])}"
                f"{problem['msg'].removeprefix('Value error, ')}"
                for problem in error.errors()
            )
            raise LauncherError("\n".join(lines)) from None

    @classmethod
    def ephemeral(cls, run_dir: Path, **given: Any) -> Self:
        """Settings on unused ports, so that many stacks fit on one machine.

        The app id is unused too: the Dapr CLI takes whatever sidecar it finds for it.
        """
        names = [name for name in cls.model_fields if name.endswith("port")]
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        own = {"app_id": f"steadfast-{ports['dapr_http_port']}"}
        return cls.load(run_dir=run_dir, **(own | ports | given))

    def ports(self) -> dict[str, int]:
        """Every port of the stack, by the name of its setting."""
        return {name: value for name, value in self if name.endswith("port")}

    @property
    def data_dir(self) -> Path:
        """What must survive a restart."""
        return self.run_dir / "data"

    @property
    def database_url(self) -> str:
        """The application's database, as SQLAlchemy wants it."""
        if self.postgres_url is None or self.store == "sqlite":
            return f"sqlite+aiosqlite:///{self.data_dir / 'app.db'}"
        address = self.postgres_url.partition("://")[2]
        # libpq and Dapr say sslmode, asyncpg says ssl; the values are the same.
        return f"postgresql+asyncpg://{address.replace('sslmode=', 'ssl=')}"

    @property
    def state_store(self) -> str:
        """The sidecar's store, as the component of that name wants it."""
        if self.postgres_url is None or self.store == "sqlite":
            return str(self.data_dir / "state.db")
        return self.postgres_url


class Secrets(BaseModel, frozen=True):
    """Made once for each run directory, and kept there for its owner only."""

    webhook_secret: str = Field(min_length=1, repr=False)
    """Signs what is said by a provider that has no secret of its own."""
    carrier_secret: str = Field(min_length=32, repr=False)
    payment_secret: str = Field(min_length=32, repr=False)
    signing_secret: str = Field(min_length=32, repr=False)
    warehouse_secret: str = Field(min_length=32, repr=False)
    dapr_api_token: str = Field(min_length=1, repr=False)
    jwt_key: str = Field(min_length=32, repr=False)
    decision_key: str = Field(min_length=32, repr=False)

    @property
    def webhook_secrets(self) -> dict[str, str]:
        """The secret of each provider that calls back."""
        return {
            "carrier": self.carrier_secret,
            "payment": self.payment_secret,
            "signing": self.signing_secret,
            "warehouse": self.warehouse_secret,
        }

    @classmethod
    def of(cls, run_dir: Path) -> Self:
        """Read the secrets of a run directory, or make them.

        Raises:
            LauncherError: when the file is there and cannot be understood.
        """
        path = run_dir / "secrets.json"
        try:
            known = json.loads(path.read_bytes()) if path.exists() else {}
            missing = cls.model_fields.keys() - known.keys()
        except (ValueError, AttributeError):
            raise LauncherError(f"{path} is damaged: remove it, and new secrets are made") from None
        if missing:
            made = {name: secrets.token_urlsafe(32) for name in missing}
            write_private(path, json.dumps(known | made, indent=2) + "\n")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError:
            raise LauncherError(f"{path} is damaged: remove it, and new secrets are made") from None
