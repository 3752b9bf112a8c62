"""Supervision, seen from outside: pids, state.json, ports, and what the processes were given."""

import json
import os
import signal
import stat
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher import LauncherError, NotReadyError, Settings, Stack
from launcher.net import wait_until
from tests.launcher.conftest import STANDIN

EVERYTHING = ("app", "daprd", "downstream", "scheduler", "placement")


def state(stack: Stack) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((stack.settings.run_dir / "state.json").read_bytes())
    return content


def given(url: str) -> dict[str, Any]:
    content: dict[str, Any] = httpx.get(url).json()
    return content


def listening(pid: int) -> set[tuple[str, int]]:
    """The address, as the kernel writes it, and port of every socket that takes what comes."""
    found = set()
    links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()]
    for table in ("tcp", "tcp6", "udp", "udp6"):
        waiting = "0A" if table.startswith("tcp") else "07"
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = row.split()
            if columns[3] == waiting and f"socket:[{columns[9]}]" in links:
                address, port = columns[1].split(":")
                found.add((address, int(port, 16)))
    return found


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_is_killed_comes_back(stack: Stack, name: str) -> None:
    before = state(stack)
    old = stack.kill(name)
    new = stack.wait_restarted(name, old)
    assert old == before[name]["pid"]
    assert not Path(f"/proc/{old}").exists()
    stack.wait_ready()
    assert state(stack) == {**before, name: {**before[name], "pid": new}}


def test_a_sidecar_that_was_asked_to_stop_comes_back(stack: Stack) -> None:
    old = stack.pid("daprd")
    token = {"dapr-api-token": stack.secrets.dapr_api_token}
    assert httpx.post(f"{stack.dapr_http}/v1.0/shutdown", headers=token).status_code == 204
    assert stack.wait_restarted("daprd", old) != old


def test_what_is_paused_is_left_alone(stack: Stack) -> None:
    paused = stack.kill("app", signal.SIGSTOP)
    other = stack.kill("downstream")
    stack.wait_restarted("downstream", other)  # So the supervisor has looked at all of them.
    assert stack.pid("app") == paused
    with pytest.raises(NotReadyError, match="livez: no answer"):
        stack.wait_ready("app", timeout=0)
    stack.kill("app", signal.SIGCONT)
    stack.wait_ready("app")
    assert stack.pid("app") == paused


def test_what_is_held_stays_down(stack: Stack) -> None:
    stack.hold("app")
    old = stack.kill("app")
    other = stack.kill("downstream")
    stack.wait_restarted("downstream", other)
    with pytest.raises(LauncherError, match="app is down"):
        stack.pid("app")
    assert state(stack)["app"] == {"pid": None, "port": stack.settings.port}
    stack.unhold("app")
    assert stack.wait_restarted("app", old) == state(stack)["app"]["pid"]


def test_a_replica_has_a_sidecar_of_its_own(stack: Stack) -> None:
    with pytest.raises(LauncherError, match="not daprd-7"):
        stack.spawn_app("daprd-7")
    replica = stack.spawn_app("app-2", env={"WHO": "two"})
    with pytest.raises(LauncherError, match="daprd-2 runs already"):
        stack.spawn_app("app-2")
    env = given(replica.url)["env"]
    assert env["WHO"] == "two"
    assert replica.dapr_http == f"http://127.0.0.1:{env['DAPR_HTTP_PORT']}" != stack.dapr_http
    stack.wait_restarted("app-2", stack.kill("app-2"))
    assert {"app-2", "daprd-2"} < state(stack).keys()
    replica.stop()
    assert not {"app-2", "daprd-2"} & state(stack).keys()
    with pytest.raises(LauncherError, match="there is no app-2 here; there is placement, "):
        stack.pid("app-2")


def test_state_says_who_is_where(stack: Stack) -> None:
    content = state(stack)
    assert content["supervisor"] == {"pid": os.getpid()}
    assert content["downstream"] == {
        "pid": stack.pid("downstream"),
        "port": stack.settings.downstream_port,
    }
    assert content["daprd"]["grpc_port"] == stack.settings.dapr_grpc_port
    for name in EVERYTHING:
        assert content[name]["pid"] == stack.pid(name)
        assert content[name]["port"] in {port for _, port in listening(stack.pid(name))}


def test_nothing_listens_beyond_loopback(stack: Stack) -> None:
    everywhere = {
        port
        for name in EVERYTHING
        for address, port in listening(stack.pid(name))
        if address != "0100007F"
    }
    # Dapr 1.18.2 ignores --healthz-listen-address. When it no longer does, this says so.
    settings = stack.settings
    assert everywhere == {settings.placement_healthz_port, settings.scheduler_healthz_port}


def test_what_the_application_is_given(stack: Stack) -> None:
    env = given(stack.url)["env"]
    settings = stack.settings
    expected = {
        "DAPR_RUNTIME_HOST": "127.0.0.1",
        "DAPR_GRPC_PORT": str(settings.dapr_grpc_port),
        "DAPR_HTTP_PORT": str(settings.dapr_http_port),
        "DAPR_API_TOKEN": stack.secrets.dapr_api_token,
        "STEADFAST_HOST": "127.0.0.1",
        "STEADFAST_PORT": str(settings.port),
        "STEADFAST_DATABASE_URL": f"sqlite+aiosqlite:///{settings.data_dir}/app.db",
        "STEADFAST_DOWNSTREAM_URL": stack.downstream_url,
        "STEADFAST_WEBHOOK_SECRETS": json.dumps(
            {source: [secret] for source, secret in stack.secrets.webhook_secrets.items()}
        ),
    }
    assert {name: env.get(name) for name in expected} == expected
    assert env["NO_PROXY"].endswith("127.0.0.1,localhost")


def test_what_downstream_is_given(stack: Stack) -> None:
    shown = given(stack.downstream_url)
    flags = dict(zip(shown["argv"][::2], shown["argv"][1::2], strict=True))
    assert flags["--webhook-url"] == stack.url
    assert flags["--data"] == str(stack.settings.data_dir / "downstream")
    assert flags["--config"].endswith("activities/providers.toml")
    assert shown["env"]["DOWNSTREAM_WEBHOOK_SECRET"] == stack.secrets.webhook_secret
    own = json.loads(shown["env"]["DOWNSTREAM_WEBHOOK_SECRETS"])
    assert own == stack.secrets.webhook_secrets
    assert len({stack.secrets.webhook_secret, *own.values()}) == 5


def test_no_secret_is_on_a_command_line(stack: Stack) -> None:
    for name in EVERYTHING:
        line = Path(f"/proc/{stack.pid(name)}/cmdline").read_text()
        assert stack.secrets.dapr_api_token not in line
        for secret in (stack.secrets.webhook_secret, *stack.secrets.webhook_secrets.values()):
            assert secret not in line


def test_the_secrets_are_for_their_owner(stack: Stack) -> None:
    path = stack.settings.run_dir / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_one_is_refused(stack: Stack) -> None:
    second = Stack(stack.settings, app_command=STANDIN, downstream_command=STANDIN)
    with pytest.raises(LauncherError, match=f"already running: pid {os.getpid()}, {stack.url}"):
        second.start()
    stack.wait_ready(timeout=5)


def test_a_port_in_use_is_named_before_anything_starts(stack: Stack, tmp_path: Path) -> None:
    taken = stack.settings.dapr_grpc_port
    settings = Settings.ephemeral(tmp_path, dapr_grpc_port=taken)
    advice = "stop what uses it, or set STEADFAST_DAPR_GRPC_PORT to another"
    with pytest.raises(LauncherError, match=f"port {taken}: Address already in use; {advice}"):
        Stack(settings).start()
    assert not (tmp_path / "state.json").exists()
    assert not (tmp_path / "logs").exists()


def test_what_keeps_ending_is_shown_and_not_waited_for(tmp_path: Path) -> None:
    broken = ("sh", "-c", "echo no such table; exit 3")
    stack = Stack(Settings.ephemeral(tmp_path), app_command=broken, downstream_command=STANDIN)
    with pytest.raises(NotReadyError, match=r"(?s)app keeps ending; .*app\.log.*no such table"):
        stack.start(timeout=30)
    assert not (tmp_path / "state.json").exists()


def test_data_and_secrets_survive_a_restart(tmp_path: Path) -> None:
    settings = Settings.ephemeral(tmp_path)
    stack = Stack(settings, app_command=STANDIN, downstream_command=STANDIN)
    seen = []
    for _ in range(2):
        with stack:
            seen.append(stack.secrets)
            pids = [stack.pid(name) for name in EVERYTHING]
            assert (settings.data_dir / "state.db").exists()
            assert (settings.data_dir / "scheduler").exists()
        assert not (tmp_path / "state.json").exists()
        wait_until(partial(alive, pids), 5)
    assert seen[0] == seen[1]


def alive(pids: list[int]) -> str | None:
    left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    return f"the end of {left}" if left else None
