"""Drawing a scene: anti-aliased shapes on varied paper, and the bounding box of each thing.

Drawings are made in palette indices: a shape's coverage is computed once from its signed distance (in pixels, negative
inside) and kept as a stamp of shades, so that an image is some copies and a palette. This makes drawing fast.
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
ZOOMS = (0.7, 1.5)
TURNS = (-8, 0, 8)
"""The range of tilts, in degrees."""
SEEN = 0.2
"""The least coverage of a pixel inside a thing's box."""
PATTERNS = ("plain", "across", "down", "stripes", "checks", "dots")
SCRIBBLES = 6
RIM = 1 / 56
"""How wide the sheet's rim is, in its sides. A vision tower whose positions are all relative, as Qwen2.5-VL's, has
nothing else to tell one corner of an empty sheet from another."""
MOST = 5
"""How many things a look has nudges and tints for."""
TONES = 12
"""The shades from paper to a thing's edge, and again from its edge to its fill."""
PAPER_TONES, LINE_TONES = 16, 4
PAPERS = PAPER_TONES * LINE_TONES
"""The shades of empty paper. Five things of 2 x 12 shades each leave a palette room to spare."""


@dataclass(frozen=True, slots=True)
class Look:
    """The random look of a drawing, independent of the scene's content. Things are identified by index.

    ``nudges`` are -1..1 of the room that a thing has in its cell; ``tints`` are added to its colour. ``drift`` moves
    all things together, over the free columns and rows beside them: 0 is the first of these, 1 the last. None leaves
    each thing in its cell. ``zoom`` is the scale of a thing that stands alone.
    """

    dark: bool
    hollow: bool
    papers: tuple[RGB, RGB]
    pattern: str
    scribbles: tuple[int, ...]
    nudges: tuple[tuple[float, float], ...]
    tints: tuple[int, ...]
    scales: tuple[float, ...]
    turns: tuple[int, ...]
    rim: bool = True
    drift: tuple[float, float] | None = None
    zoom: float = 1.0

    @classmethod
    def draw(
        cls,
        rng: random.Random,
        *,
        dark: bool = False,
        hollow: bool = False,
        clutter: bool = False,
        anywhere: bool = False,
        sized: bool = True,
    ) -> Look:
        """A look at random.

        Args:
            dark: on dark paper, in paler ink.
            hollow: shapes are outlines.
            clutter: with faint scribbles on the paper.
            anywhere: as people draw: on paper with or without a rim, and no thing has to stand in a cell. Relations
                hold; named places do not.
            sized: sizes are named. If not, a thing that stands alone may have any size.
        """
        dice = rng.random  # several times as fast as randint and choice, and a look takes some thirty throws
        base = 9 + 35 * dice() if dark else 203 + 35 * dice()
        r, g, b, *second = (int(base + 18 * dice()) for _ in range(6))
        return cls(
            dark=dark,
            hollow=hollow,
            papers=((r, g, b), (second[0], second[1], second[2])),
            pattern=rng.choice(PATTERNS),
            scribbles=tuple(rng.sample(range(SCRIBBLES), 2)) if clutter else (),
            nudges=tuple((2 * dice() - 1, 2 * dice() - 1) for _ in range(MOST)),
            tints=tuple(int(25 * dice()) - 12 for _ in range(MOST)),
            scales=tuple(rng.choices(SCALES, k=MOST)),
            turns=tuple(rng.choices(TURNS, k=MOST)),
            rim=not anywhere or dice() < 0.5,
            drift=(dice(), dice()) if anywhere else None,
            zoom=ZOOMS[0] + (ZOOMS[1] - ZOOMS[0]) * dice() if anywhere and not sized else 1.0,
        )

    def without(self, index: int) -> Look:
        """The look of a scene without one thing; the others keep theirs."""
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
        return Image.fromarray(self._palette[self._shades(side)])

    def png(self, side: int) -> bytes:
        """The drawing as an indexed PNG, lightly compressed; several times as fast as PIL on such drawings."""
        rows = np.zeros((side, 1 + side), dtype=np.uint8)  # the first byte of a row says: no filter
        rows[:, 1:] = self._shades(side)
        header = struct.pack(">IIBBBBB", side, side, 8, 3, 0, 0, 0)
        pixels = zlib.compress(rows.tobytes(), 1)
        chunks = (b"IHDR", header), (b"PLTE", self._palette.tobytes()), (b"IDAT", pixels), (b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )

    @property
    def _palette(self) -> np.ndarray:
        return _palette(self.look, [thing.colour for thing in self.scene.things])

    def _shades(self, side: int) -> np.ndarray:
        """The drawing in indices of its palette [side, side]."""
        sheet = _paper(self.look.pattern, self.look.scribbles, self.look.rim, side).copy()
        for index, thing in enumerate(self.scene.things):
            stamp, (x, y) = self._stamp(index, thing, side)
            left, top = max(x, 0), max(y, 0)
            part = sheet[top : y + stamp.size, left : x + stamp.size]
            inside = np.s_[top - y : top - y + part.shape[0], left - x : left - x + part.shape[1]]
            np.copyto(part, stamp.shades[index][inside], where=stamp.inked[inside])
        return sheet

    def box(self, index: int, side: int) -> list[int]:
        """The bounding box of a thing: [x1, y1, x2, y2] in pixels, the last two exclusive."""
        stamp, (x, y) = self._stamp(index, self.scene.things[index], side)
        left, top, right, bottom = stamp.box
        return [max(x + left, 0), max(y + top, 0), min(x + right, side), min(y + bottom, side)]

    def _stamp(self, index: int, thing: Thing, side: int) -> tuple[Stamp, tuple[int, int]]:
        """The thing's stamp and the pixel of its upper left corner."""
        look, cell = self.look, side / self.scene.grid
        zoom = look.zoom if len(self.scene.things) == 1 else 1.0
        radius = RADIUS[thing.size] * look.scales[index] * zoom * cell
        stamp = _cut(thing.shape, round(radius, 3), look.turns[index], max(1.0, side / 56), look.hollow)
        room = max(cell / 2 - radius * 1.2, 0)
        shift = dict(self.shifts).get(index, (0.0, 0.0))
        x, y = (
            (place + 0.5 + move + drift) * cell + room * nudge - stamp.size / 2
            for place, move, drift, nudge in zip(
                (thing.column, thing.row), shift, self._drift, look.nudges[index], strict=True
            )
        )
        return stamp, (round(x), round(y))

    @property
    def _drift(self) -> tuple[float, float]:
        """How far the things are moved together, in cells (right, down)."""
        if self.look.drift is None:
            return 0.0, 0.0
        columns, rows = [t.column for t in self.scene.things], [t.row for t in self.scene.things]
        across, down = (
            part * (self.scene.grid - 1 - max(taken) + min(taken)) - min(taken)
            for part, taken in zip(self.look.drift, (columns, rows), strict=True)
        )
        return across, down


@dataclass(frozen=True, slots=True)
class Stamp:
    """A shape's pixels [size, size]: which are inked, and their palette index for the things 0 to ``MOST`` - 1."""

    inked: np.ndarray
    shades: tuple[np.ndarray, ...]
    box: tuple[int, int, int, int]

    @property
    def size(self) -> int:
        return len(self.inked)


@functools.lru_cache(maxsize=4096)
def _cut(shape: str, radius: float, turn: int, edge: float, hollow: bool) -> Stamp:
    half = math.ceil(radius * 1.25) + 2
    steps = np.arange(-half, half) + 0.5
    distance = _distance(shape, radius, math.radians(turn), *np.meshgrid(steps, steps))
    line = 1.7 * edge
    body = _coverage(abs(distance + line / 2) - line / 2 if hollow else distance)
    outer = (body * TONES).round().astype(np.uint8)
    inner = ((0.0 if hollow else 1.0) * TONES * _coverage(distance + edge)).round().astype(np.uint8)
    shade = PAPERS + np.where(inner > 0, TONES + inner, outer) - (outer > 0)
    columns, rows = np.flatnonzero((body > SEEN).any(0)), np.flatnonzero((body > SEEN).any(1))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Stamp(outer > 0, tuple((shade + 2 * TONES * k).astype(np.uint8) for k in range(MOST)), box)


def _coverage(distance: np.ndarray) -> np.ndarray:
    """How much of each pixel lies inside, 0..1, from the signed distance of its centre."""
    return (0.5 - distance).clip(0, 1)


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


def _mixing(things: int) -> np.ndarray:
    """The weights [shades, colours] that make a palette of few colours: paper, its second shade, its scribbles, the
    mean paper, and of each thing its edge and its fill."""
    weights = np.zeros((PAPERS + 2 * TONES * things, 4 + 2 * things))
    across, drawn = np.meshgrid(np.linspace(0, 1, PAPER_TONES), np.linspace(0, 1, LINE_TONES))
    weights[:PAPERS, :3] = np.stack([(1 - across) * (1 - drawn), across * (1 - drawn), drawn], 2).reshape(-1, 3)
    up = np.arange(1, TONES + 1) / TONES
    for k in range(things):
        start, edge, fill = PAPERS + 2 * TONES * k, 4 + 2 * k, 5 + 2 * k
        weights[start : start + TONES, 3], weights[start : start + TONES, edge] = 1 - up, up
        weights[start + TONES : start + 2 * TONES, edge], weights[start + TONES : start + 2 * TONES, fill] = 1 - up, up
    return weights


_MIX = [_mixing(things) for things in range(MOST + 1)]


def _palette(look: Look, colours: list[str]) -> np.ndarray:
    """The RGB values [indices, 3]: paper towards its second shade and its scribbles, paper to edge to fill."""
    one, two = look.papers
    line, edge = 34 if look.dark else -34, 1.0 if look.dark or look.hollow else 0.62
    middle = ((one[0] + two[0]) / 2, (one[1] + two[1]) / 2, (one[2] + two[2]) / 2)
    known = [one, two, (one[0] + line, one[1] + line, one[2] + line), middle]
    for colour, tint in zip(colours, look.tints, strict=False):
        r, g, b = _ink(colour, tint, look.dark)
        known += [(r * edge, g * edge, b * edge), (r, g, b)]
    return (_MIX[len(colours)] @ np.array(known) + 0.5).astype(np.uint8)


@functools.lru_cache(maxsize=1024)
def _paper(pattern: str, scribbles: tuple[int, ...], rim: bool, side: int) -> np.ndarray:
    """The empty sheet in palette indices, with its rim and its scribbles."""
    lines = np.zeros((side, side))
    if rim:
        width = max(round(side * RIM), 1)
        lines[:width] = lines[-width:] = lines[:, :width] = lines[:, -width:] = 1
    for number in scribbles:
        lines = np.maximum(lines, _scribble(number, side))
    tone = (_pattern(pattern, side) * (PAPER_TONES - 1)).round()
    return (tone + PAPER_TONES * (lines * (LINE_TONES - 1)).round()).astype(np.uint8)


@functools.cache
def _pattern(name: str, side: int) -> np.ndarray:
    """How far each pixel is from the paper's first shade to its second, 0..1."""
    x, y = np.meshgrid(np.arange(side) / side, np.arange(side) / side)
    match name:
        case "across":
            return x
        case "down":
            return y
        case "stripes":
            return ((x + y) * 8) % 1 < 0.5
        case "checks":
            return ((x * 6).astype(int) + (y * 6).astype(int)) % 2
        case "dots":
            return _coverage((np.hypot((x * 9) % 1 - 0.5, (y * 9) % 1 - 0.5) - 0.28) * side / 9)
        case _:
            return np.zeros((side, side))


@functools.cache
def _scribble(number: int, side: int) -> np.ndarray:
    """The coverage 0..1 of a thin wavy line across the sheet; always the same for one number."""
    rng = random.Random(f"scribble/{number}")
    x, y = np.meshgrid(np.arange(side) / side, np.arange(side) / side)
    if number % 2:
        x, y = y, x
    path = rng.uniform(0.15, 0.85) + rng.uniform(0.04, 0.12) * np.sin(x * rng.uniform(5, 14) + rng.uniform(0, 6))
    return _coverage((abs(y - path) - 0.004) * side)
