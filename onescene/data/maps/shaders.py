"""Reads shader scripts: what a surface is (sky, invisible, cut out by alpha) and which image it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onescene.data.maps.pk3 import PackFiles

SURFACE_SKY, SURFACE_NODRAW = 0x4, 0x80  # surface flags of the BSP's texture lump
SURFACE_CUTOUT = 0x40000000  # not of Quake III: alpha cuts it out, without a script that says so
LIQUIDS = {"water", "slime", "lava"}
INVISIBLE = ("textures/common/", "textures/system/", "noshader", "flareshader")
INVISIBLE_WORDS = ("clip", "trigger", "hint", "skip", "nodraw", "caulk", "areaportal", "origin", "donotenter")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One drawing pass of a shader.

    Attributes:
        image: Image name, or "$lightmap", or "".
        blend: Lower-case words of `blendFunc`; empty = opaque.
        alpha_test: Whether `alphaFunc` cuts pixels away.
        environment: Whether it mirrors an environment image.
        vertex_lit: Whether `rgbGen vertex` colours it.
    """

    image: str = ""
    blend: tuple[str, ...] = ()
    alpha_test: bool = False
    environment: bool = False
    vertex_lit: bool = False


@dataclass(frozen=True, kw_only=True)
class Shader:
    """A shader script's entry.

    Attributes:
        name: Surface name in lower case.
        parms: Its `surfaceparm` words.
        stages: Drawing passes in order.
        editor_image: Image a map editor shows.
        two_sided: Seen from both sides.
        sky_box: Stem of six sky images, or "".
    """

    name: str
    parms: frozenset[str] = frozenset()
    stages: tuple[Stage, ...] = ()
    editor_image: str = ""
    two_sided: bool = False
    sky_box: str = ""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """How a surface is drawn here.

    Attributes:
        kind: "solid", "cutout" (alpha decides), "sky" or "hidden".
        image: Stored name of its image; None = not found.
        glow: Stored name of an image that shines by itself, added on top; None = none.
        two_sided: Seen from both sides.
        sky_box: Stem of six sky images, or "".
    """

    kind: str
    image: str | None
    glow: str | None = None
    two_sided: bool = False
    sky_box: str = ""


def _parse_stage(lines: list[str]) -> Stage:
    values: dict = {}
    for line in lines:
        words = line.split()
        key, rest = words[0].lower(), words[1:]
        if key in ("map", "clampmap") and rest:
            values["image"] = rest[0].lower()
        elif key == "animmap" and len(rest) > 1:
            values["image"] = rest[1].lower()
        elif key == "blendfunc":
            values["blend"] = tuple(r.lower() for r in rest)
        elif key == "alphafunc":
            values["alpha_test"] = True
        elif key == "tcgen" and rest[:1] and rest[0].lower() == "environment":
            values["environment"] = True
        elif key == "rgbgen" and rest and "vertex" in rest[0].lower():
            values["vertex_lit"] = True
    return Stage(**values)


def _parse_shader(name: str, body: list[str]) -> Shader:
    parms, stages, values = set(), [], {}
    stage: list[str] | None = None
    for line in body:
        if line == "{":
            stage = []
        elif line == "}":
            stages.append(_parse_stage(stage or []))
            stage = None
        elif stage is not None:
            stage.append(line)
        else:
            words = line.split()
            key, rest = words[0].lower(), [w.lower() for w in words[1:]]
            if key == "surfaceparm" and rest:
                parms.add(rest[0])
            elif key == "cull" and rest and rest[0] in ("none", "disable", "twosided"):
                values["two_sided"] = True
            elif key == "qer_editorimage" and rest:
                values["editor_image"] = rest[0]
            elif key == "skyparms" and rest and rest[0] not in ("-", "full", "half"):
                values["sky_box"] = rest[0]
    return Shader(name=name, parms=frozenset(parms), stages=tuple(stages), **values)


def parse_shaders(text: str) -> dict[str, Shader]:
    """Reads the shaders of one script; a script that ends too early gives those before its end."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"//[^\r\n]*", "", text)
    lines = [s for s in re.split(r"[\r\n]+|(?<=[{}])|(?=[{}])", text) if s and s.strip()]
    out: dict[str, Shader] = {}
    name, depth, body = "", 0, []
    for line in (s.strip() for s in lines):
        if line == "{":
            depth += 1
            if depth == 1:
                body = []
                continue
        elif line == "}":
            depth -= 1
            if depth == 0:
                out.setdefault(name, _parse_shader(name, body))
                continue
            depth = max(depth, 0)
        if depth == 0:
            name = line.split()[0].strip('"').lower()
        else:
            body.append(line)
    return out


def load_shaders(packs: PackFiles) -> dict[str, Shader]:
    """Reads every script of a game; where a name recurs, the script that sorts first wins."""
    shaders: dict[str, Shader] = {}
    for script in packs.names("scripts/", ".shader"):
        for name, shader in parse_shaders(packs.read(script).decode("latin-1")).items():
            shaders.setdefault(name, shader)
    return shaders


def _is_additive(blend: tuple[str, ...]) -> bool:
    return blend[:1] == ("add",) or blend[:2] in (("gl_one", "gl_one"), ("gl_src_alpha", "gl_one"))


def _is_alpha_blend(blend: tuple[str, ...]) -> bool:
    return blend[:1] == ("blend",) or blend[:2] == ("gl_src_alpha", "gl_one_minus_src_alpha")


def _glow(shader: Shader, base: Stage, packs: PackFiles) -> str | None:
    for stage in shader.stages:
        if stage is not base and _is_additive(stage.blend) and not stage.environment and stage.image[:1] not in "$*":
            return packs.find_image(stage.image)
    return None


def _scripted_surface(shader: Shader, flags: int, packs: PackFiles) -> Surface:
    named = [s for s in shader.stages if s.image and s.image[:1] not in ("$", "*")]
    found = [(s, packs.find_image(s.image)) for s in named]
    found = [(s, image) for s, image in found if image]
    fallback = packs.find_image(shader.editor_image or shader.name) or packs.find_image(shader.name)
    if flags & SURFACE_SKY or "sky" in shader.parms:
        return Surface(kind="sky", image=found[0][1] if found else fallback, sky_box=shader.sky_box)
    if "nodraw" in shader.parms or ("fog" in shader.parms and not found):
        return Surface(kind="hidden", image=None)
    plain = [(s, image) for s, image in found if not s.environment] or found
    base = plain[0] if plain else (Stage(), fallback)
    first = shader.stages[0] if shader.stages else Stage()
    two_sided, liquid = shader.two_sided, bool(shader.parms & LIQUIDS)
    if any(s.alpha_test for s, _ in plain):
        cut = next((s, image) for s, image in plain if s.alpha_test)
        return Surface(kind="cutout", image=cut[1], two_sided=two_sided)
    if first.blend and not liquid:  # nothing opaque lies under it: decals, beams, glass
        if _is_alpha_blend(first.blend) and not first.environment:
            return Surface(kind="cutout", image=base[1], two_sided=two_sided)
        if first.image != "$lightmap":
            return Surface(kind="hidden", image=None)
    return Surface(kind="solid", image=base[1], glow=_glow(shader, base[0], packs), two_sided=two_sided or liquid)


def resolve_surface(name: str, flags: int, shaders: dict[str, Shader], packs: PackFiles) -> Surface:
    """Decides how a surface of the BSP is drawn.

    Args:
        name: Name in the BSP's texture lump.
        flags: Its surface flags.
        shaders: The game's shaders.
        packs: Where images are looked up.

    Returns:
        The surface. Additive and filtering surfaces that cover nothing opaque are hidden,
        blended ones are cut out where their alpha is under one half, liquids are solid.
    """
    name = name.lower()
    shader = shaders.get(name)
    if flags & SURFACE_NODRAW and not flags & SURFACE_SKY:
        return Surface(kind="hidden", image=None)
    if shader is not None:
        return _scripted_surface(shader, flags, packs)
    if flags & SURFACE_SKY:
        return Surface(kind="sky", image=packs.find_image(name))
    image = packs.find_image(name)
    last = name.rsplit("/", 1)[-1]
    if name.startswith(INVISIBLE) and (image is None or any(w in last for w in INVISIBLE_WORDS)):
        return Surface(kind="hidden", image=None)
    if flags & SURFACE_CUTOUT:
        return Surface(kind="cutout", image=image, two_sided=True)
    return Surface(kind="solid", image=image)
