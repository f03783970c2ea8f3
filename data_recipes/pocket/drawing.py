"""How a scene becomes pixels: anti-aliased shapes on varied paper, and where each thing's ink lies.

A shape's coverage is computed once from its signed distance (in pixels, negative inside) and kept as a stamp; an
image is some pastes of stamps. That, and a PNG writer without row filters, is what makes drawing fast.
"""

from __future__ import annotations

import functools
import math
import random
import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from data_recipes.pocket.scenes import Scene, Thing

RGB = tuple[int, int, int]
INK: dict[str, RGB] = {
    "red": (214, 38, 44),
    "orange": (246, 132, 18),
    "yellow": (244, 212, 30),
    "green": (44, 152, 62),
    "blue": (36, 92, 208),
    "purple": (140, 62, 172),
}
RADIUS = {"small": 0.23, "large": 0.39}
"""A thing's radius in cells."""
SCALES = (0.94, 1.0, 1.06)
TURNS = (-8, 0, 8)
"""How a shape may be tilted, in degrees."""
PATTERNS = ("plain", "across", "down", "stripes", "checks", "dots")
SCRIBBLES = 6
MOST = 8
"""How many things a look has nudges and tints for."""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything about a drawing that says nothing about its scene. Things are told apart by their index.

    ``nudges`` are -1..1 of the room that a thing has in its cell; ``tints`` are added to its colour.
    """

    dark: bool
    papers: tuple[RGB, RGB]
    pattern: str
    scribbles: tuple[int, ...]
    nudges: tuple[tuple[float, float], ...]
    tints: tuple[int, ...]
    scales: tuple[float, ...]
    turns: tuple[int, ...]

    @classmethod
    def draw(cls, rng: random.Random, *, dark: bool = False, clutter: bool = False) -> Look:
        """A look at random.

        Args:
            dark: outlined shapes on dark paper, the style of `ood`.
            clutter: with faint scribbles on the paper.
        """
        base = rng.randint(18, 52) if dark else rng.randint(212, 246)
        papers = [tuple(base + rng.randint(-9, 9) for _ in range(3)) for _ in range(2)]
        return cls(
            dark=dark,
            papers=(papers[0], papers[1]),  # type: ignore[arg-type]
            pattern=rng.choice(PATTERNS),
            scribbles=tuple(rng.sample(range(SCRIBBLES), 2)) if clutter else (),
            nudges=tuple((rng.uniform(-1, 1), rng.uniform(-1, 1)) for _ in range(MOST)),
            tints=tuple(rng.randint(-12, 12) for _ in range(MOST)),
            scales=tuple(rng.choices(SCALES, k=MOST)),
            turns=tuple(rng.choices(TURNS, k=MOST)),
        )


    def without(self, index: int) -> Look:
        """The look of a scene that lost a thing: the others stay as they were."""
        kept = [i for i in range(MOST) if i != index]
        return replace(
            self,
            nudges=tuple(self.nudges[i] for i in kept),
            tints=tuple(self.tints[i] for i in kept),
            scales=tuple(self.scales[i] for i in kept),
            turns=tuple(self.turns[i] for i in kept),
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """A scene as one drawing shows it. ``shifts`` move things off their cells, by index, in cells (right, down)."""

    scene: Scene
    look: Look
    shifts: tuple[tuple[int, tuple[float, float]], ...] = ()

    def image(self, side: int) -> Image.Image:
        """The drawing, RGB, ``side`` pixels square."""
        sheet = _paper(self.look, side)
        for index, thing in enumerate(self.scene.things):
            stamp, corner = self._stamp(index, thing, side)
            ink = _ink(thing.colour, self.look.tints[index], self.look.dark)
            sheet.paste(tuple(int(c * 0.62) for c in ink) if stamp.fill else ink, corner, stamp.body)
            if stamp.fill:
                sheet.paste(ink, corner, stamp.fill)
        return sheet

    def box(self, index: int, side: int) -> list[int]:
        """Where the thing's ink lies: [x1, y1, x2, y2] in pixels, the last two just outside it."""
        stamp, (x, y) = self._stamp(index, self.scene.things[index], side)
        left, top, right, bottom = stamp.box
        return [max(x + left, 0), max(y + top, 0), min(x + right, side), min(y + bottom, side)]

    def _stamp(self, index: int, thing: Thing, side: int) -> tuple[Stamp, tuple[int, int]]:
        """The thing's stamp and the pixel of its upper left corner."""
        look, cell = self.look, side / self.scene.grid
        radius = RADIUS[thing.size] * look.scales[index] * cell
        stamp = _cut(thing.shape, round(radius, 3), look.turns[index], max(1.0, side / 56), look.dark)
        room = max(cell / 2 - radius * 1.2, 0)
        shift = dict(self.shifts).get(index, (0.0, 0.0))
        x, y = (
            (place + 0.5 + move) * cell + room * nudge - stamp.body.width / 2
            for place, move, nudge in zip((thing.column, thing.row), shift, look.nudges[index], strict=True)
        )
        return stamp, (round(x), round(y))


@dataclass(frozen=True, slots=True)
class Stamp:
    """A shape as coverage 0..255: its body, and inside its darker edge the fill (an outlined shape has none)."""

    body: Image.Image
    fill: Image.Image | None
    box: tuple[int, int, int, int]


@functools.lru_cache(maxsize=4096)
def _cut(shape: str, radius: float, turn: int, edge: float, hollow: bool) -> Stamp:
    half = math.ceil(radius * 1.25) + 2
    steps = np.arange(-half, half) + 0.5
    distance = _distance(shape, radius, math.radians(turn), *np.meshgrid(steps, steps))
    line = 1.7 * edge
    body = _coverage(abs(distance + line / 2) - line / 2 if hollow else distance)
    ink = np.asarray(body) > 127
    columns, rows = np.flatnonzero(ink.any(0)), np.flatnonzero(ink.any(1))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Stamp(body, None if hollow else _coverage(distance + edge), box)


def _coverage(distance: np.ndarray) -> Image.Image:
    """How much of each pixel lies inside, from the signed distance of its centre."""
    return Image.fromarray(((0.5 - distance).clip(0, 1) * 255).round().astype(np.uint8))


def _distance(shape: str, radius: float, turn: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The signed distance of points from a shape's outline; y points down."""
    if shape == "circle":
        return np.hypot(x, y) - radius
    corners = _corners(shape) * radius @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    nearest, inside = np.full(x.shape, np.inf), np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = (((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)).clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return np.where(inside, -nearest, nearest)


def _corners(shape: str) -> np.ndarray:
    """A polygon's corners for radius 1 [n, 2], sized so that all shapes look about equally large."""
    match shape:
        case "square":
            return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.86
        case "triangle":
            return np.array([(0, -1.0), (1.05, 0.86), (-1.05, 0.86)])
        case "star":
            angles = np.arange(10) * math.pi / 5 - math.pi / 2
            reach = np.where(np.arange(10) % 2, 0.5, 1.17)[:, None]
            return np.stack([np.cos(angles), np.sin(angles)], 1) * reach
        case _:
            a, b = 1.0, 0.36
            quarter = [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b)]
            return np.array(quarter + [(-x, -y) for x, y in quarter])


def _ink(colour: str, tint: int, dark: bool) -> RGB:
    """A colour, a little lighter or darker; on dark paper as if mixed with white."""
    r, g, b = (c + (255 - c) // 4 if dark else c for c in INK[colour])
    return min(max(r + tint, 0), 255), min(max(g + tint, 0), 255), min(max(b + tint, 0), 255)


def _paper(look: Look, side: int) -> Image.Image:
    sheet = Image.new("RGB", (side, side), look.papers[0])
    if look.pattern != "plain":
        sheet.paste(look.papers[1], (0, 0), _pattern(look.pattern, side))
    for number in look.scribbles:
        grey = tuple(c + (34 if look.dark else -34) for c in look.papers[0])
        sheet.paste(grey, (0, 0), _scribble(number, side))
    return sheet


@functools.cache
def _pattern(name: str, side: int) -> Image.Image:
    x, y = np.meshgrid(np.arange(side) / side, np.arange(side) / side)
    plane = {
        "across": lambda: x,
        "down": lambda: y,
        "stripes": lambda: (((x + y) * 8) % 1 < 0.5) * 1.0,
        "checks": lambda: ((x * 6).astype(int) + (y * 6).astype(int)) % 2 * 1.0,
        "dots": lambda: (0.5 + (0.28 - np.hypot((x * 9) % 1 - 0.5, (y * 9) % 1 - 0.5)) * side / 9).clip(0, 1),
    }[name]()
    return Image.fromarray((plane * 255).round().astype(np.uint8))


@functools.cache
def _scribble(number: int, side: int) -> Image.Image:
    """A thin wavy line across the sheet; always the same for one number."""
    rng = random.Random(f"scribble/{number}")
    x, y = np.meshgrid(np.arange(side) / side, np.arange(side) / side)
    if number % 2:
        x, y = y, x
    path = rng.uniform(0.15, 0.85) + rng.uniform(0.04, 0.12) * np.sin(x * rng.uniform(5, 14) + rng.uniform(0, 6))
    return _coverage((abs(y - path) - 0.004) * side)


def png(image: Image.Image) -> bytes:
    """An RGB image as PNG: rows unfiltered and lightly compressed, several times as fast as PIL on flat drawings."""
    pixels = np.asarray(image)
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # the first byte of a row says: no filter
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
