"""The one table of processes and links, and what of it a run has."""

from __future__ import annotations

from conformance.topology import LINKS, PROCESSES, VICTIMS, present


def test_every_link_joins_two_processes_and_has_a_port_of_its_own() -> None:
    names = [each.name for each in PROCESSES]
    assert {end for link in LINKS for end in (link.client, link.server)} <= set(names)
    assert len({link.port for link in LINKS}) == len(LINKS)
    assert len(set(names)) == len(names)


def test_a_victim_is_cut_off_on_every_side() -> None:
    everything = present(gated=True, servers={"store": 6379, "database": 5432})
    assert everything.links_of("daprd") == (
        "app-daprd",
        "daprd-store",
        "daprd-scheduler",
        "daprd-placement",
    )
    assert everything.links_of("store") == ("daprd-store",)
    assert everything.links_of("database") == ("app-database",)
    assert (everything["store"].port, everything["database"].port) == (6379, 5432)
    assert all(everything.links_of(victim) for victim in VICTIMS)


def test_one_server_that_keeps_everything_is_cut_off_from_both() -> None:
    some = present(gated=True, servers={"store": 5432}, shared=True)
    assert some.links_of("store") == ("app-store", "daprd-store")
    assert some.victims == ("app", "daprd", "scheduler", "placement", "store")


def test_what_is_not_there_is_no_victim_and_has_no_links() -> None:
    some = present(gated=False, servers={})
    assert some.victims == ("app", "daprd", "scheduler", "placement")
    assert some.links_of("app") == ("app-witness", "app-daprd")
    assert "gates" not in {each.name for each in some.processes}
