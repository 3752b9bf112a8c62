"""Settings of the application, each from the environment as `STEADFAST_<NAME>`."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from activities.effect import DEADLINE
from activities.operations import OPERATIONS
from app.housekeeping import Keep
from app.notices import Pace
from app.security import key_of
from workflows import WORKFLOWS
from workflows.approval import Rules as ApprovalRules

SOURCES = frozenset().union(*(workflow.hears for workflow in WORKFLOWS))


def _heard(source: str) -> str:
    if source not in SOURCES:
        raise ValueError(f"no workflow hears it; {', '.join(sorted(SOURCES))}")
    return source


# A provider that calls back.
Source = Annotated[str, AfterValidator(_heard), Field(json_schema_extra={"enum": sorted(SOURCES)})]


def _strong(secret: SecretStr) -> SecretStr:
    key_of(secret.get_secret_value())
    return secret


WebhookSecret = Annotated[SecretStr, AfterValidator(_strong)]


class SigningKey(BaseModel):
    """A key and the one algorithm that it is for; `public` where it differs from the secret."""

    algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"] = "HS256"
    secret: SecretStr = Field(min_length=32)
    public: SecretStr | None = None


class Provider(BaseModel):
    """One provider, where it differs from the others; the timeout is seconds for one call."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(default=None, pattern=r"^https?://")
    token: SecretStr | None = Field(default=None, min_length=1, description="sent as a bearer")
    timeout: float | None = Field(default=None, gt=0, le=DEADLINE)
    connections: int = Field(default=100, ge=1, le=1000)


class Settings(BaseSettings):
    """Durations are seconds. The sidecar's address and token come from Dapr's own variables."""

    # What is wrong with a secret is told without telling the secret.
    model_config = SettingsConfigDict(env_prefix="STEADFAST_", hide_input_in_errors=True)

    app_id: str = "steadfast"
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = Field(
        default="http://127.0.0.1:8000",
        pattern=r"^https?://",
        description="where links lead; the same on every replica, for it is in their letters",
    )
    database_url: str = "sqlite+aiosqlite:///steadfast.db"
    store_timeout: float = Field(
        default=10.0, gt=0, le=60, description="for one answer of Postgres, a lock, a connection"
    )
    downstream_url: str = "http://127.0.0.1:8100"
    providers: dict[str, Provider] = Field(
        default={}, description="by name (payment, carrier, ...), as JSON; else `downstream_url`"
    )
    webhook_secrets: dict[Source, list[WebhookSecret]] = Field(
        description="shared with each provider that calls back, as JSON; several are good at once, "
        "so that one can be changed without losing a callback"
    )
    jwt_keys: dict[str, SigningKey] = Field(
        default={}, description="keys of bearer tokens by `kid`, as JSON; none: nobody gets in"
    )
    decision_key: SecretStr = Field(
        default=SecretStr(""), description="signs links and decisions; empty: there are none"
    )
    # By the kind of workflow that they are the rules of.
    approval: ApprovalRules = ApprovalRules()
    key_ttl: float = 82_800
    suspect_after: int = 2
    park_after: int = 3
    relay_interval: float = 0.5
    courier_interval: float = Field(
        default=1.0, gt=0, description="looks for what people and providers are to be told"
    )
    notices: Pace = Pace()
    wedge_after: float = 5.0
    reconcile_interval: float = 5.0
    stall_after: float = 30.0
    start_alert_after: float = Field(
        default=600.0, description="for what the engine does not start, or does not go on with"
    )
    audit_interval: float = 60.0
    audit_after: float = Field(
        default=3600.0,
        gt=0,
        description="a charge is judged so long after it, and after its order's end",
    )
    audit_ceiling: int = Field(
        default=20,
        ge=0,
        description="refunds an hour by the audit itself; the others are a person's",
    )
    provider_timeout: float = Field(
        default=10.0, gt=0, le=DEADLINE, description="for one call; the whole step has 30 s"
    )
    retention: float = 7 * 86_400.0
    keep: Keep = Keep()
    housekeeping_interval: float = Field(default=300.0, gt=0)

    @field_validator("webhook_secrets")
    @classmethod
    def _apart(cls, secrets: dict[Source, list[SecretStr]]) -> dict[Source, list[SecretStr]]:
        owners: dict[str, str] = {}
        for source, own in secrets.items():
            if not own:
                raise ValueError(f"{source} has no secret")
            for secret in own:
                if owners.setdefault(secret.get_secret_value(), source) != source:
                    raise ValueError(f"{source} has a secret of another provider")
        return secrets

    @field_validator("providers")
    @classmethod
    def _known(cls, providers: dict[str, Provider]) -> dict[str, Provider]:
        known = {operation.partition(".")[0] for operation in OPERATIONS}
        if strange := providers.keys() - known:
            raise ValueError(
                f"no provider {', '.join(sorted(strange))}; {', '.join(sorted(known))}"
            )
        return providers


def from_environment() -> Settings:
    """The settings, for a program that ends with 2 and a line for each that is wrong.

    Raises:
        SystemExit: 2; which variables are wrong, and why, was written to standard error.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = [(item["loc"], item["msg"]) for item in error.errors(include_input=False)]
    except SettingsError as error:
        # It names the field, and nothing else that can be told from it is safe to show.
        named = re.search(r'field "(\w+)"', str(error))
        wrong = [((named[1] if named else "?",), "is not the JSON that it should be")]
    for (field, *inside), why in wrong:
        at = "".join(f" ({part})" for part in inside)
        print(f"STEADFAST_{str(field).upper()}{at}: {why}", file=sys.stderr)
    if any(why == "Field required" for _, why in wrong):
        print('with `make run`, this sets them: eval "$(python -m launcher env)"', file=sys.stderr)
    raise SystemExit(2)


class SidecarSettings(BaseSettings):
    """Where the sidecar is, in the variables that Dapr and its SDK use."""

    model_config = SettingsConfigDict(env_prefix="DAPR_")

    runtime_host: str = "127.0.0.1"
    http_port: int = 3500
    api_token: SecretStr | None = None

    @property
    def http_url(self) -> str:
        """Base URL of the sidecar's HTTP API."""
        return f"http://{self.runtime_host}:{self.http_port}"

    @property
    def headers(self) -> dict[str, str]:
        """The token that the sidecar asks of every caller."""
        return {"dapr-api-token": self.api_token.get_secret_value()} if self.api_token else {}
