"""Splits: families stay together, held-out maps never reach training."""

from __future__ import annotations

import pytest

from onescene.data.splits import VALIDATION_FAMILIES, family, is_held_out, maps_of, split_of

FAMILIES = [
    ("nexuiz__aggressor", "openarena__aggressor"),
    ("nexuiz__basement", "nexuiz__basementctf"),
    ("bloodprison", "bloodprisonctf"),
    ("runningman", "runningmanctf", "runningman_1on1remix"),
    ("stormkeep", "stormkeep2"),
    ("oa_bases3", "oa_bases3cl", "oa_bases3p3ta", "oa_bases3plus3"),
    ("czest1dm", "czest1tourney", "czest2ctf"),
    ("ctf_compromise", "ctf_gate1", "ctf_inyard"),
    ("hydronex", "hydronex2"),
    ("am_galmevish", "am_galmevish2"),
    ("oa_ctf2", "oa_ctf2old"),
    ("ps37ctf", "ps37ctf2"),
    ("dm6ish", "q3dm6ish"),
]


@pytest.mark.parametrize("names", FAMILIES)
def test_variants_of_a_map_are_one_family_on_one_side(names):
    assert len({family(n) for n in names}) == 1
    assert len({split_of(n) for n in names}) == 1


def test_families_of_different_places_differ():
    members = [names[0] for names in FAMILIES]
    assert len({family(n) for n in members}) == len(FAMILIES)
    assert family("oa_dm1") != family("oa_dm5")


@pytest.mark.parametrize(
    "name", ["oacmpdm1", "openarena__oacmpctf3", "nexuiz__accident", "desertfactory", "strength", "STORMKEEP2"]
)
def test_held_out_maps_are_recognised_with_and_without_game(name):
    assert is_held_out(name)
    assert split_of(name) == "heldout"


def test_splits_cover_all_maps_once_and_leave_out_maps_without_a_place():
    names = [n for group in FAMILIES for n in group] + ["oacmpdm2", "bluesky", "aneurysm", "_init", "turret_test"]
    parts = {split: maps_of(names, split) for split in ("train", "validation", "heldout")}
    assert sorted(name for part in parts.values() for name in part) == sorted(set(names) - {"_init", "turret_test"})
    assert parts["heldout"] == ["stormkeep", "stormkeep2", "oacmpdm2"]
    assert {family(n) for n in parts["validation"]} <= VALIDATION_FAMILIES
    assert not {family(n) for n in parts["train"]} & {family(n) for n in parts["validation"] + parts["heldout"]}


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="split must be one of train, validation, heldout, got 'test'"):
        maps_of(["aggressor"], "test")
