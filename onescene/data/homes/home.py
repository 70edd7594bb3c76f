"""Homes drawn from a seed: a room and what adjoins it, furnished, lit, and ready for ray tracing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onescene.data.homes.arrange import SHARES, THEMES, Placed, arrange
from onescene.data.homes.library import Piece
from onescene.data.homes.light import GAMMA, AreaLight, Lighting, Sun, Surfaces, light_at_corners
from onescene.data.homes.looks import Look, Textures, drawn, paint, pick_look
from onescene.data.homes.models import cut_long, load_model
from onescene.data.homes.plan import draw_rooms
from onescene.data.homes.shell import SIDES, WALL_M, Panels, Room, add_room, before_opening, wall_frame
from onescene.data.maps.raytrace import yaw_rotation
from onescene.data.maps.shading import CUTOUT, SOLID, VERTEX_LIT
from onescene.data.maps.sky import Sky
from onescene.data.maps.textures import build_atlas
from onescene.data.maps.world import SLIVER_M2, TracedWorld, TriangleLight, uv_density

UP = np.array([0.0, -1.0, 0.0])
STORED_LIGHT = 255.0 / 2.0  # of light 1, as `maps.shading` reads light at corners
OUTSIDE_M = 60.0
OUTDOORS = ("ground", "house")
FEW_PX = 64  # pixels on a side that tell an image's mean
CLEAR = 0.02  # share of clear pixels from which an image has holes


@dataclass(frozen=True, kw_only=True)
class Home:
    """A home.

    Attributes:
        world: Its triangles.
        rooms: Its rooms; the first is the main one.
        placed: Its furniture, by room.
    """

    world: TracedWorld
    rooms: list[Room]
    placed: list[list[Placed]]


def draw_home(name: str, pieces: list[Piece], textures: Textures, rng: np.random.Generator) -> Home:
    """Builds a home: rooms, looks, furniture, light.

    Args:
        name: Its name.
        pieces: Furniture to choose from (`open_libraries`).
        textures: Photographs of surfaces (`read_textures`).
        rng: All that is drawn is drawn from this.
    """
    rooms = draw_rooms(rng)
    panels, looks, lights = Panels(), {}, []
    power = _power(rng)
    placed = []
    for k, room in enumerate(rooms):
        theme = str(rng.choice(list(THEMES), p=SHARES))
        _dress(panels, looks, room, k, theme, textures, rng)
        lights += _lights(panels, room, power, rng)
        placed.append(arrange(room, theme, pieces, rng))
    _outside(panels, looks, rooms, textures, rng)
    looks["lamp"] = Look(image=np.full((1, 1, 4), 255, np.uint8), shines=True)
    sun = Sun(towards=_upward(rng), colour=power["sun"]) if power["sun"].any() else None
    lighting = Lighting(areas=lights, sun=sun, sky=power["sky"])
    pieces_in = [item for room in placed for item in room]
    return Home(world=_traced(name, panels, looks, pieces_in, lighting, rng), rooms=rooms, placed=placed)


def _power(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """How bright sky, sun and lamps are: by day with or without lamps, or by night."""
    day = rng.random() < 0.8
    warm = np.array([1.0, rng.uniform(0.78, 0.97), rng.uniform(0.5, 0.9)])
    lamp = rng.uniform(6, 16) * warm if not day or rng.random() < 0.5 else np.zeros(3)
    sky = np.array([0.85, 0.95, 1.05]) * (rng.uniform(3, 7) if day else 0.02)
    sun = np.array([1.0, 0.93, 0.8]) * rng.uniform(4, 9) if day and rng.random() < 0.5 else np.zeros(3)
    return {"lamp": lamp, "sky": sky, "sun": sun}


def _upward(rng: np.random.Generator) -> np.ndarray:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(15, 60))
    return np.array([np.cos(elevation) * np.sin(azimuth), -np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])


def _dress(
    panels: Panels, looks: dict[str, Look], room: Room, k: int, theme: str, textures: Textures, rng: np.random.Generator
) -> None:
    """A room's surfaces, pictures on its walls and a rug."""
    wet = theme == "bath"
    wall = pick_look(textures, "wet" if wet else "wall", rng)
    accent = pick_look(textures, "wall", rng) if rng.random() < 0.25 else wall
    looks |= {f"floor{k}": pick_look(textures, "wet" if wet else "floor", rng)}
    looks |= {f"ceiling{k}": pick_look(textures, "ceiling", rng), f"wall{k}": wall, f"accent{k}": accent}
    looks[f"trim{k}"] = Look(image=drawn(rng, paint(rng, 0.3 if rng.random() < 0.3 else 0.75, 0.95), 0.0), repeat_m=1.0)
    accented = str(rng.choice(list(SIDES)))
    materials = {side: f"accent{k}" if side == accented else f"wall{k}" for side in SIDES}
    materials |= {"floor": f"floor{k}", "ceiling": f"ceiling{k}", "trim": f"trim{k}"}
    skirting = 0.0 if wet or rng.random() < 0.2 else rng.uniform(0.05, 0.14)
    add_room(panels, room, materials, skirting, WALL_M / 2 + 0.001, rng.uniform(0.04, 0.08))
    for side in SIDES if textures.pictures and not wet else ():
        if rng.random() < 0.45:
            _picture(panels, looks, room, side, f"{k}{side}", textures.pictures, rng)
    if theme in ("living", "bed", "office") and rng.random() < 0.5:
        low, high = np.array(room.low), np.array(room.high)
        half = (high - low) * rng.uniform(0.2, 0.4, 2)
        centre = (low + high) / 2
        looks[f"rug{k}"] = Look(image=drawn(rng, paint(rng, 0.3, 0.8), 0.08, rng.random() < 0.5), repeat_m=0.9)
        corner = np.array([centre[0] - half[0], -0.012, centre[1] - half[1]])
        panels.rectangle(corner, np.array([2 * half[0], 0, 0]), np.array([0, 0, 2 * half[1]]), f"rug{k}", UP)


def _picture(
    panels: Panels,
    looks: dict[str, Look],
    room: Room,
    side: str,
    name: str,
    pictures: list[np.ndarray],
    rng: np.random.Generator,
) -> None:
    corner, along, out = wall_frame(room, side)
    image = pictures[rng.integers(len(pictures))]
    height = rng.uniform(0.35, 1.1)
    width = height * image.shape[1] / image.shape[0]
    start = float(corner @ along)
    length = room.high[1 - SIDES[side][0]] - start
    middle, level = start + rng.uniform(0.15, 0.85) * length, rng.uniform(1.4, 1.7)
    if width > length * 0.5 or before_opening(middle, width / 2, room.openings.get(side, ())):
        return
    looks[f"picture{name}"] = Look(image=image)
    looks[f"rim{name}"] = Look(image=drawn(rng, paint(rng, 0.1, 0.9), 0.05), repeat_m=0.5)
    centre = corner + along * (middle - start) + np.array([0, -level, 0])
    half, rim, up = along * width / 2, along * 0.03, np.array([0, height / 2, 0])
    tall = np.array([0, 0.03, 0])
    panels.box(centre - half - rim - up - tall, centre + half + rim + up + tall - out * 0.02, f"rim{name}", cell=0.3)
    facing = 1.0 if np.cross(along, [0, 1, 0]) @ out > 0 else -1.0  # which way is right, seen from inside
    left = centre - facing * half - up - out * 0.022
    panels.rectangle(left, facing * 2 * half, 2 * up, f"picture{name}", -out, cell=0.2)
    panels.uv[-1] = panels.uv[-1] / np.array([width, height])


def _lights(panels: Panels, room: Room, power: dict[str, np.ndarray], rng: np.random.Generator) -> list[AreaLight]:
    """A room's windows and its lamp, which hangs just below the ceiling."""
    out = []
    for side, openings in room.openings.items():
        for o in (o for o in openings if o.window):
            corner, along, away = wall_frame(room, side)
            origin = corner + along * (o.along[0] - corner @ along) + np.array([0, -o.up[1], 0]) + away * WALL_M * 0.6
            right, down = along * (o.along[1] - o.along[0]), np.array([0, o.up[1] - o.up[0], 0])
            ground = power["sky"] * 0.3
            out.append(
                AreaLight(
                    origin=origin, right=right, down=down, normal=-away, colour=power["sky"], ground=ground, samples=3
                )
            )
    if power["lamp"].any():
        middle = (np.array(room.low) + np.array(room.high)) / 2
        half = np.minimum(rng.uniform(0.12, 0.5, 2), 0.3 * (np.array(room.high) - np.array(room.low)))
        origin = np.array([middle[0] - half[0], -room.height + 0.04, middle[1] - half[1]])
        right, down = np.array([2 * half[0], 0, 0]), np.array([0, 0, 2 * half[1]])
        panels.rectangle(origin, right, down, "lamp", -UP, cell=1.0)
        area = 4 * half[0] * half[1]
        below = origin + np.array([0, 0.01, 0])
        colour = power["lamp"] * min(1.0, 0.12 / area) * max(1.0, (room.height / 2.6) ** 2)
        out.append(AreaLight(origin=below, right=right, down=down, normal=np.array([0.0, 1.0, 0.0]), colour=colour))
    return out


def _outside(
    panels: Panels, looks: dict[str, Look], rooms: list[Room], textures: Textures, rng: np.random.Generator
) -> None:
    """Ground and a few blocks of houses around."""
    looks["ground"] = pick_look(textures, "ground", rng)
    level = float(rng.choice([0.15, rng.uniform(0.3, 3.0), rng.uniform(3.0, 9.0)]))
    size = np.array([2 * OUTSIDE_M, 0, 0]), np.array([0, 0, 2 * OUTSIDE_M])
    panels.rectangle(np.array([-OUTSIDE_M, level, -OUTSIDE_M]), *size, "ground", UP, cell=6.0)
    reach = max(max(abs(v) for v in (*r.low, *r.high)) for r in rooms)
    for i in range(rng.integers(0, 7)):
        looks[f"house{i}"] = pick_look(textures, "front", rng)
        angle, away = rng.uniform(0, 2 * np.pi), reach + rng.uniform(6, 35)
        half = rng.uniform(1.5, 5.0, 2)
        centre = np.array([np.sin(angle), np.cos(angle)]) * (away + half.max())
        low = np.array([centre[0] - half[0], level, centre[1] - half[1]])
        high = np.array([centre[0] + half[0], level - rng.uniform(3, 12), centre[1] + half[1]])
        panels.box(low, high, f"house{i}", cell=2.0)


@dataclass(frozen=True, kw_only=True)
class _Mesh:
    """Triangles of walls, then of furniture: what `Surfaces` says of them, texture coordinates [t, 3, 2] and images."""

    corners: np.ndarray
    normal: np.ndarray
    area: np.ndarray
    uv: np.ndarray
    look: np.ndarray
    outdoors: np.ndarray
    walls: int


def _gather(panels: Panels, looks: dict[str, Look], placed: list[Placed]) -> tuple[_Mesh, list[np.ndarray]]:
    """All triangles with the images that they show."""
    index = {look: i for i, look in enumerate(looks)}
    images = [look.image for look in looks.values()]
    counts = [len(c) for c in panels.corners]
    parts = [
        (c, u / (looks[m].repeat_m or 1.0), np.full(n, index[m]))
        for c, u, m, n in zip(panels.corners, panels.uv, panels.material, counts, strict=True)
    ]
    for item in placed:
        model = load_model(item.piece)
        if model is None:
            continue
        corners = model.corners_m @ yaw_rotation(item.angle).T + item.at_m
        parts.append(cut_long(corners, model.uv, model.material + len(images)))
        images += model.images
    corners, uv, look = (np.concatenate(values) for values in zip(*parts, strict=True))
    outdoors = np.zeros(len(look), bool)
    outdoors[: sum(counts)] = np.repeat([m.startswith(OUTDOORS) for m in panels.material], counts)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1) / 2
    keep = area > SLIVER_M2
    mesh = _Mesh(
        corners=corners[keep],
        normal=cross[keep] / (2 * area[keep, None]),
        area=area[keep],
        uv=uv[keep],
        look=look[keep],
        outdoors=outdoors[keep],
        walls=int(keep[: sum(counts)].sum()),
    )
    return mesh, images


def _traced(
    name: str,
    panels: Panels,
    looks: dict[str, Look],
    placed: list[Placed],
    lighting: Lighting,
    rng: np.random.Generator,
) -> TracedWorld:
    """All triangles with their light, ready for ray tracing."""
    mesh, images = _gather(panels, looks, placed)
    few = [image[:: max(1, image.shape[0] // FEW_PX), :: max(1, image.shape[1] // FEW_PX)] for image in images]
    mean = np.array([image[..., :3].reshape(-1, 3).mean(0) for image in few]) / 255
    clear = np.array([(image[..., 3] < 128).mean() > CLEAR for image in few])
    shines = np.pad([look.shines for look in looks.values()], (0, len(images) - len(looks)))
    surfaces = Surfaces(
        corners=mesh.corners,
        normal=mesh.normal,
        area=mesh.area,
        albedo=mean[mesh.look] ** GAMMA,
        outdoors=mesh.outdoors,
        walls=mesh.walls,
    )
    atlas = build_atlas(images)
    light = np.zeros_like(mesh.corners)  # found by rays in the world itself, so filled in at the end
    world = TracedWorld(
        name=name,
        corners_m=mesh.corners.astype(np.float32),
        normal=np.ascontiguousarray(mesh.normal, dtype=np.float32),
        kind=np.where(clear[mesh.look], CUTOUT, SOLID),
        two_sided=np.ones(len(mesh.look), bool),
        uv=np.ascontiguousarray(mesh.uv),
        texture=mesh.look,
        glow=np.where(shines[mesh.look], mesh.look, -1),
        density=uv_density(mesh.uv, mesh.area, atlas.size[mesh.look, 0]),
        light=TriangleLight(
            page=np.full(len(mesh.look), VERTEX_LIT),
            uv=np.zeros((len(mesh.look), 3, 2)),
            colour=light,
            lightmaps=np.zeros((1, 2, 2, 3), np.uint8),
        ),
        atlas=atlas,
        sky=Sky(sides={}),
    )
    light[:] = light_at_corners(world.scene, surfaces, lighting, rng) * STORED_LIGHT
    return world
