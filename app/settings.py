"""Settings of the application, each from the environment as `STEADFAST_<NAME>`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from activities.effect import DEADLINE


class SigningKey(BaseModel):
    """A key and the one algorithm that it is for; `public` where it differs from the secret."""

    algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"] = "HS256"
    secret: SecretStr = Field(min_length=32)
    public: SecretStr | None = None


class ApprovalRules(BaseModel):
    """The server's rules for approvals; amounts in minor units."""

    automatic_below: int = 10_000
    automatic_priorities: tuple[str, ...] = ("low",)
    approvers: tuple[str, ...] = ("approver",)
    director: str = "director"


class Settings(BaseSettings):
    """Durations are seconds. The sidecar's address and token come from Dapr's own variables."""

    model_config = SettingsConfigDict(env_prefix="STEADFAST_")

    app_id: str = "steadfast"
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = Field(default="", description="where links lead; empty: host and port")
    database_url: str = "sqlite+aiosqlite:///steadfast.db"
    downstream_url: str = "http://127.0.0.1:8100"
    webhook_secret: SecretStr = Field(description="shared with the providers that call back")
    jwt_keys: dict[str, SigningKey] = Field(
        default={}, description="keys of bearer tokens by `kid`, as JSON; none: nobody gets in"
    )
    decision_key: SecretStr = Field(
        default=SecretStr(""), description="signs links and decisions; empty: there are none"
    )
    approval: ApprovalRules = ApprovalRules()
    key_ttl: float = 82_800
    suspect_after: int = 2
    park_after: int = 3
    relay_interval: float = 0.5
    wedge_after: float = 5.0
    reconcile_interval: float = 5.0
    stall_after: float = 30.0
    audit_interval: float = 60.0
    provider_timeout: float = Field(
        default=10.0, gt=0, le=DEADLINE, description="for one call; the whole step has 30 s"
    )
    retention: float = 7 * 86_400.0


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
