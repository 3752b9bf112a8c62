"""The one table of processes and links, and what of it a run has."""

from __future__ import annotations

from conformance.topology import LINKS, PROCESSES, VICTIMS, present


def test_every_link_joins_two_processes_and_has_a_port_of_its_own() -> None:
    names = [each.name for each in PROCESSES]
    assert {end for link in LINKS for end in (link.client, link.server)} <= set(names)
    assert len({link.port for link in LINKS}) == len(LINKS)
    assert len(set(names)) == len(names)


def test_a_victim_is_cut_off_on_every_side() -> None:
    everything = present(gated=True, store=True)
    assert everything.links_of("daprd") == (
        "app-daprd",
        "daprd-store",
        "daprd-scheduler",
        "daprd-placement",
    )
    assert everything.links_of("store") == ("app-store", "daprd-store")
    assert all(everything.links_of(victim) for victim in VICTIMS)


def test_what_is_not_there_is_no_victim_and_has_no_links() -> None:
    some = present(gated=False, store=False)
    assert some.victims == ("app", "daprd", "scheduler", "placement")
    assert some.links_of("app") == ("app-witness", "app-daprd")
    assert "gates" not in {each.name for each in some.processes}
