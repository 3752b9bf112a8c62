"""What the launcher can be told, and what it says when that makes no sense."""

from pathlib import Path

import pytest

from launcher import LauncherError, Settings
from launcher.settings import ROOT, Secrets


def test_relative_paths_start_at_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.delenv("STEADFAST_RUN_DIR", raising=False)
    assert Settings.load().run_dir == ROOT / ".run"


def test_a_bad_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADFAST_SCHEDULER_PORT", "many")
    with pytest.raises(LauncherError, match=r"^STEADFAST_SCHEDULER_PORT: .*integer"):
        Settings.load()


def test_postgres_needs_its_address() -> None:
    with pytest.raises(LauncherError, match=r"^the store postgres needs .*POSTGRES_URL="):
        Settings.load(store="postgres", postgres_url=None)


def test_both_readers_of_one_postgres_get_their_own_spelling() -> None:
    url = "postgresql://u:p@db:5432/steadfast?sslmode=require"
    settings = Settings.load(store="postgres", postgres_url=url)
    assert settings.state_store == url
    assert settings.database_url == "postgresql+asyncpg://u:p@db:5432/steadfast?ssl=require"
    assert "u:p" not in repr(settings)


def test_two_stacks_share_no_port(tmp_path: Path) -> None:
    ports = [port for _ in range(2) for port in Settings.ephemeral(tmp_path).ports().values()]
    assert len(set(ports)) == len(ports)
    assert max(ports) < 32_000


def test_no_default_port_is_used_twice() -> None:
    ports = [field.default for name, field in Settings.model_fields.items() if name[-4:] == "port"]
    assert len(set(ports)) == len(ports) == 15


def test_secrets_are_kept(tmp_path: Path) -> None:
    made = Secrets.of(tmp_path)
    assert Secrets.of(tmp_path) == made
    assert made.webhook_secret not in repr(made)


def test_damaged_secrets_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"webhook_secret": ""}')
    with pytest.raises(LauncherError, match=r"secrets\.json is damaged"):
        Secrets.of(tmp_path)
