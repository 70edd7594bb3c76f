"""Who is held out: maps by family over all packs, and real panoramas by name.

A family's maps share rooms, so a family lies on one side of the split only.

* **heldout**: the OpenArena community pack (`oacmp*`) and the Nexuiz families accident, desertfactory,
  strength and stormkeep. Never trained on, tuned on or shown as an example.
* **validation**: a few other families, for tuning.
* **train**: everything else.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

Split = Literal["train", "validation", "heldout"]

HELD_OUT_PREFIXES = ("oacmp", "accident", "desertfactory", "strength", "stormkeep")
VALIDATION_FAMILIES = frozenset(
    {"aneurysm", "bluesky", "mckinleyish", "oa_dm5", "sleekgrinder", "toxic", "england", "office", "small_street"}
)
NOT_PLACES = frozenset({"_init", "turret_test", "walker_pathtest"})  # test maps without a place to show
REPEATED = "craft_"  # in names of UFO: Alien Invasion: the same few ships on the ground of every theme

HELD_OUT_LIBRARIES = ("scopia",)  # furniture, for measuring only
HELD_OUT_PANORAMAS = ("city", "courtyard", "muir_wood", "humus")  # real photos, for measuring only
SHOWN_PANORAMAS = ("interior", "forest", "sunset")  # shipped examples, not for training either

# maps of one place under several names
ALIASES = {
    "basementctf": "basement",
    "bloodprisonctf": "bloodprison",
    "pxlfan": "fan",
    "islandctf": "island",
    "islanddm": "island",
    "q3dm6ish": "dm6ish",
}
PREFIXES = (
    "am_lava",
    "cbctf",
    "ctf_",
    "czest",
    "hydronex",
    "kaos",
    "oa_bases",
    "oacmp",
    "ps37ctf",
    "pul1",
    "runningman",
    "stormkeep",
)
HOME = re.compile(r"homes__(train|validation|heldout)_")
NUMBERED = re.compile(r"oa_dm\d+")  # numbered, but places of their own


def family(map_name: str) -> str:
    """The family a map belongs to: its name without game, numbers and variants; its folder where it has one.

    >>> family("nexuiz__runningman_1on1remix"), family("oa_bases3plus3"), family("ufoai__village2.vil_b2x2_house03")
    ('runningman', 'oa_bases', 'village')
    """
    name = re.split(r"[/.]", map_name.lower().rsplit("__", 1)[-1])[0]  # in a file's name a dot stands for the slash
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return prefix.rstrip("_")
    if NUMBERED.fullmatch(name):
        return name
    stem = re.sub(r"[\d]+(old|cl|beta|ctf|dm|tourney|-oa|p3ta|plus3)?$", "", name)
    stem = re.sub(r"^am_", "", stem)
    return ALIASES.get(stem, stem)


def is_held_out(map_name: str) -> bool:
    """Whether a map belongs to a held-out family; a game's prefix `<game>__` is ignored."""
    return map_name.lower().rsplit("__", 1)[-1].startswith(HELD_OUT_PREFIXES)


def split_of(map_name: str) -> Split:
    """The split a map belongs to; of a furnished home (`homes__<split>_...`) the one its furniture is from."""
    home = HOME.match(map_name)
    if home:
        return home[1]
    if is_held_out(map_name):
        return "heldout"
    return "validation" if family(map_name) in VALIDATION_FAMILIES else "train"


def check_split(split: str) -> None:
    """Raises ValueError where a split's name is unknown."""
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))}, got {split!r}")


def maps_of(map_names: list[str], split: Split) -> list[str]:
    """The maps of one split, in the given order, without test maps that show no place and without repetitions."""
    check_split(split)
    return [m for m in map_names if split_of(m) == split and family(m) not in NOT_PLACES and REPEATED not in m]
