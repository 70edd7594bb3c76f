"""Analytic rooms: scenes whose colour, distance and normals are known exactly at every ray, without a file.

For tests (the truth has no pixels) and for teaching. ``sample_room`` furnishes endless different ones.
"""

from onescene.data.rooms.patterns import PATTERNS, Pattern, draw_pattern
from onescene.data.rooms.raycast import RoomHit, trace
from onescene.data.rooms.render import RoomPanorama, RoomViews, away_from_edges, render_panorama, render_views
from onescene.data.rooms.room import SOLIDS, WALLS, FreeBox, Light, Room, Solid, box_room
from onescene.data.rooms.sample import ROOM_KINDS, sample_room

__all__ = [
    "PATTERNS",
    "ROOM_KINDS",
    "SOLIDS",
    "WALLS",
    "FreeBox",
    "Light",
    "Pattern",
    "Room",
    "RoomHit",
    "RoomPanorama",
    "RoomViews",
    "Solid",
    "away_from_edges",
    "box_room",
    "draw_pattern",
    "render_panorama",
    "render_views",
    "sample_room",
    "trace",
]
