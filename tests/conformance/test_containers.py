"""The cluster of containers, on the real Docker, with our own application in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.clusters import ClusterError, Options, Stores
from conformance.clusters.containers import Containers
from conformance.clusters.docker import connect
from conformance.clusters.images import find
from conformance.clusters.leftovers import OWNER, sweep
from conformance.faults.cut import Cut
from conformance.plan.contract import load
from conformance.topology import LINKS, VICTIMS, Victim
from launcher.net import wait_until
from launcher.settings import ROOT

TARGET = load(ROOT / "target.toml")
ORDER: dict[str, Any] = {
    "customer": "c-17",
    "currency": "EUR",
    "lines": [{"sku": "SKU-1", "quantity": 2, "unit_price": 1999}],
    "ship_to": {"name": "A", "line1": "Street 1", "postcode": "10115", "country": "DE"},
    "payment_method": "pm-ok",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    # Two kinds of store, so that every victim and every link of the table is there.
    work = tmp_path_factory.mktemp("containers")
    made = Containers(Options(TARGET, work, Stores("postgres", "redis")))
    made.start()
    yield made
    made.stop()
    assert not _ours(), "something of this run was left behind"


def test_an_order_goes_through(cluster: Containers) -> None:
    assert _outcome(cluster, _start(cluster)) == "FULFILLED"


def test_only_loopback_is_published(cluster: Containers) -> None:
    published = [
        binding["HostIp"]
        for container in _ours()
        for bindings in container.attrs["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    ]
    assert published == ["127.0.0.1"] * 5


def test_commands_run_in_the_application_s_environment(cluster: Containers) -> None:
    assert cluster.command(["{python}", "-c", "import app, os; print(os.getcwd())"]) == "/target"
    assert cluster.values["operator"].count(".") == 2
    with pytest.raises(ClusterError, match="no such module"):
        cluster.command(["{python}", "-c", "raise SystemExit('no such module')"])


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_paused_victim_is_left_alone(cluster: Containers, victim: Victim) -> None:
    before = cluster.identity(victim)
    cluster.pause(victim)
    assert cluster.state(victim) == "paused"
    cluster.resume(victim)
    assert cluster.state(victim) == "running"
    cluster.wait_ready(victim)
    assert cluster.identity(victim) == before


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_stopped_victim_is_started_again(cluster: Containers, victim: Victim) -> None:
    before = cluster.identity(victim)
    cluster.terminate(victim)
    _await_another(cluster, victim, before)
    cluster.wait_ready(victim)


def test_whoever_ends_by_itself_is_started_again(cluster: Containers) -> None:
    before = cluster.identity("daprd")
    token = {"dapr-api-token": cluster.values["api_token"]}
    httpx.post(f"{cluster.sidecar}/v1.0/shutdown", headers=token)
    _await_another(cluster, "daprd", before)
    cluster.wait_ready()


@pytest.mark.parametrize("link", [each.name for each in LINKS])
def test_a_cut_link_lets_nothing_through(cluster: Containers, link: str) -> None:
    works = {
        "app-witness": _can_reach_witness,
        "app-database": _can_read_orders,
        "app-daprd": _can_reach_sidecar,
        "daprd-store": _can_read_state,
        "daprd-scheduler": _can_schedule,
        "daprd-placement": _knows_placement,
    }[link]
    _await(lambda: works(cluster), f"{link} to work")
    assert not Cut().shows(cluster, link)
    cluster.cut(link)
    try:
        assert Cut().shows(cluster, link)
        _await(lambda: not works(cluster), f"{link} not to work")
    finally:
        cluster.restore(link)
    assert not Cut().shows(cluster, link)
    _await(lambda: works(cluster), f"{link} to work again")
    cluster.wait_ready()


def test_another_source_runs_on_the_same_data(cluster: Containers, tmp_path: Path) -> None:
    order = _start(cluster)
    assert _outcome(cluster, order) == "FULFILLED"
    for folder in (*TARGET.app.source, "components"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "app" / "mutant.py").write_text("NAME = 'mutated'\n")
    cluster.replace_app(tmp_path, {"STEADFAST_PARK_AFTER": "7"})
    try:
        program = "import os, app.mutant as m; print(m.NAME, os.environ['STEADFAST_PARK_AFTER'])"
        assert cluster.command(["{python}", "-c", program]) == "mutated 7"
        assert _outcome(cluster, order) == "FULFILLED"
    finally:
        cluster.replace_app(None, {})


def test_everything_is_killed_once_and_goes_on(cluster: Containers) -> None:
    orders = [_start(cluster) for _ in VICTIMS]
    for victim in VICTIMS:
        before = cluster.identity(victim)
        cluster.kill(victim)
        _await_another(cluster, victim, before)
        cluster.wait_ready(victim)
    cluster.wait_ready()
    assert {_outcome(cluster, order) for order in orders} == {"FULFILLED"}


def test_a_cluster_on_sqlite_without_a_gate(tmp_path: Path) -> None:
    cluster = Containers(Options(TARGET, tmp_path, Stores.both("sqlite"), gated=False))
    cluster.start()
    try:
        order = _start(cluster)
        cluster.kill("app")
        cluster.wait_ready("app")
        assert _outcome(cluster, order) == "FULFILLED"
    finally:
        cluster.stop()


def test_a_target_with_an_image_of_its_own(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "transfer", tmp_path / "transfer")
    start = f"FROM {find(connect(), 'python')}\nCOPY . /srv\nWORKDIR /srv\n"
    (tmp_path / "transfer" / "Dockerfile").write_text(start)
    target = load(tmp_path / "transfer" / "target.toml")
    app = target.app.model_copy(update={"dockerfile": "Dockerfile"})
    cluster = Containers(Options(target.model_copy(update={"app": app}), tmp_path / "work"))
    cluster.start()
    try:
        assert cluster.command(["pwd"]) == "/srv"
        cluster.kill("app")
        cluster.wait_ready("app")
    finally:
        cluster.stop()


def test_an_image_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    app = TARGET.app.model_copy(update={"image": "steadfast-nobody-has-this:1"})
    cluster = Containers(Options(TARGET.model_copy(update={"app": app}), tmp_path))
    with pytest.raises(ClusterError, match="steadfast-nobody-has-this"):
        cluster.start()


def test_an_image_that_the_suite_needs_can_be_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONFORMANCE_DAPR_IMAGE", "nobody-has-this:1")
    with pytest.raises(ClusterError, match=r"nobody-has-this.*CONFORMANCE_DAPR_IMAGE"):
        Containers(Options(TARGET, tmp_path)).start()


def test_what_a_killed_run_left_is_swept_and_nothing_else(cluster: Containers) -> None:
    program = f"""
import sys, time
from conformance.clusters.docker import connect
from conformance.clusters.fleet import Fleet, Part
fleet = Fleet(connect(), ["toxiproxy"])
image = {find(connect(), "toxiproxy")!r}
fleet.start(Part("toxiproxy", image, (), entrypoint="/toxiproxy"))
print("ready", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        run.send_signal(signal.SIGKILL)
    kept = {container.id for container in _ours()}
    swept = sweep(connect())
    assert len(swept) == 2, "a container and a network"
    assert sweep(connect()) == []
    assert {container.id for container in _ours()} == kept


def test_a_broken_command_is_said_with_what_it_printed(tmp_path: Path) -> None:
    app = TARGET.app.model_copy(update={"command": ("{python}", "-c", "raise SystemExit('oh')")})
    broken = Containers(Options(TARGET.model_copy(update={"app": app}), tmp_path))
    with pytest.raises(ClusterError, match=r"app keeps ending(?s:.*)\boh\b"):
        broken.start()


def _ours() -> list[Any]:
    filters = {"label": OWNER}
    found = connect().containers.list(all=True, filters=filters)
    mine = f"{os.getpid()}:"
    return [each for each in found if each.labels[OWNER].startswith(mine)]


def _operator(cluster: Containers) -> dict[str, str]:
    return {"Authorization": f"Bearer {cluster.values['operator']}"}


def _start(cluster: Containers) -> str:
    order = f"order-{uuid.uuid4().hex[:10]}"
    answer = httpx.post(
        f"{cluster.app}/orders", json={**ORDER, "id": order}, headers=_operator(cluster), timeout=30
    )
    assert answer.status_code == 202, answer.text
    return order


def _outcome(cluster: Containers, order: str) -> str | None:
    def ended() -> str | None:
        seen = httpx.get(
            f"{cluster.app}/workflows/{order}", headers=_operator(cluster), timeout=10
        ).json()
        return None if seen["status"] == "ENDED" else f"{order} is {seen}"

    wait_until(ended, 90)
    seen = httpx.get(
        f"{cluster.app}/workflows/{order}", headers=_operator(cluster), timeout=10
    ).json()
    outcome: str | None = seen["outcome"]
    return outcome


def _await(condition: Callable[[], bool], what: str) -> None:
    wait_until(lambda: None if condition() else f"waiting for {what}", 30)


def _await_another(cluster: Containers, victim: Victim, before: str) -> None:
    _await(
        lambda: cluster.state(victim) == "running" and cluster.identity(victim) != before,
        f"another run of {victim}",
    )


def _can_reach_witness(cluster: Containers) -> bool:
    (port,) = (each.port for each in LINKS if each.name == "app-witness")
    return _reaches(cluster, f"http://toxiproxy:{port}/livez")


def _can_reach_sidecar(cluster: Containers) -> bool:
    where = f"{cluster.values['sidecar_http_host']}:{cluster.values['sidecar_http_port']}"
    return _reaches(cluster, f"http://{where}/v1.0/healthz")


def _reaches(cluster: Containers, url: str) -> bool:
    program = f"import urllib.request as u; u.urlopen({url!r}, timeout=5)"
    try:
        cluster.command(["{python}", "-c", program])
    except ClusterError as error:
        if "refused" in str(error):
            return False
        raise
    return True


def _can_read_orders(cluster: Containers) -> bool:
    try:
        answer = httpx.get(f"{cluster.app}/workflows", headers=_operator(cluster), timeout=10)
    except httpx.TransportError:
        return False
    return answer.status_code == 200


def _can_read_state(cluster: Containers) -> bool:
    return _sidecar(cluster, "/v1.0/state/statestore/nothing").status_code == 204


def _can_schedule(cluster: Containers) -> bool:
    try:
        answer = _sidecar(cluster, "/v1.0-alpha1/jobs/nothing", timeout=2)
    except httpx.ReadTimeout:
        return False
    return "job not found" in answer.text


def _knows_placement(cluster: Containers) -> bool:
    known = _sidecar(cluster, "/v1.0/metadata").json()
    return "disconnected" not in known["actorRuntime"]["placement"]


def _sidecar(cluster: Containers, path: str, timeout: float = 10) -> httpx.Response:
    token = {"dapr-api-token": cluster.values["api_token"]}
    return httpx.get(cluster.sidecar + path, headers=token, timeout=timeout)
