"""Drawn road scenes: a seed and a number of lanes go in, a picture comes out in which a person can count the lanes.

They stand in for photographs where there are none: a pinhole camera on a gantry, six kinds of light, bends, worn
paint, traffic. The same seed draws the same picture.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 448, 320
LIGHTS = ("noon", "overcast", "dusk", "night", "fog", "low sun")
LANES = (1, 2, 3, 4, 5)
DEFAULT_SEED = 7
JPEG_QUALITY = 88
_SCALE = 2
_FAR = 900.0
_TANGENT_FROM = 130.0

Colour = tuple[int, int, int]
Field = NDArray[np.float64]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene that was written: its file's name and what is to be seen on it."""

    name: str
    lanes: int
    light: str


@dataclass(frozen=True, slots=True)
class _Camera:
    """Where the camera hangs and looks; metres on the road become pixels of the doubled picture."""

    focus: float
    height: float
    horizon: float
    x: float
    middle: float
    roll: float
    bend: float

    def at(self, x: float, z: float, up: float = 0.0) -> Point:
        """The pixel of the point `x` metres right of the road's middle, `z` ahead, `up` above the road."""
        near = min(z, _TANGENT_FROM)
        swing = self.bend * (near**2 / 2 + _TANGENT_FROM * max(z - near, 0))
        return self._rolled(
            self.middle + self.focus * (x - self.x + swing) / z,
            self.horizon + self.focus * (self.height - up) / z,
        )

    def _rolled(self, x: float, y: float) -> Point:
        dx, dy = x - WIDTH * _SCALE / 2, y - HEIGHT * _SCALE / 2
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return WIDTH * _SCALE / 2 + cos * dx - sin * dy, HEIGHT * _SCALE / 2 + sin * dx + cos * dy

    def horizon_at(self, x: float, above: float = 0.0) -> Point:
        """The horizon's pixel in column `x`, or `above` pixels over it."""
        return self._rolled(x, self.horizon - above)

    def distance(self) -> Field:
        """Metres to the road plane for every pixel of the finished picture; far above the horizon."""
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH] * float(_SCALE)
        below = np.cos(self.roll) * (y - HEIGHT) - np.sin(self.roll) * (x - WIDTH) + HEIGHT - self.horizon
        return np.where(below > 1, self.focus * self.height / np.maximum(below, 1), _FAR)


def _grey(colour: Colour, shift: float) -> Colour:
    """One shift for all channels: roads are grey, whatever the jitter."""
    red, green, blue = (int(np.clip(part + shift, 0, 255)) for part in colour)
    return red, green, blue


def _depths(near: float, far: float) -> list[float]:
    return list(np.geomspace(near, far, 40))


class _Canvas:
    """The doubled picture while it is drawn."""

    def __init__(self, camera: _Camera) -> None:
        self.camera = camera
        self.image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE))
        self.draw = ImageDraw.Draw(self.image)

    def strip(self, x: float, width: float, near: float, far: float) -> list[Point]:
        """The outline of a strip of the road from `near` to `far`."""
        depths = _depths(near, far)
        left = [self.camera.at(x - width / 2, z) for z in depths]
        return left + [self.camera.at(x + width / 2, z) for z in reversed(depths)]

    def blend(self, outlines: list[list[Point]], colour: Colour, strength: float, soft: float = 0.0) -> None:
        """Paint outlines half-transparently, with soft edges where asked."""
        points = [point for outline in outlines for point in outline]
        if not points:
            return
        edge = 3 * soft + 1
        left, top = (max(int(min(point[axis] for point in points) - edge), 0) for axis in (0, 1))
        right, bottom = (
            min(int(max(point[axis] for point in points) + edge) + 1, self.image.size[axis]) for axis in (0, 1)
        )
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", (right - left, bottom - top))
        pen = ImageDraw.Draw(mask)
        for outline in outlines:
            pen.polygon([(x - left, y - top) for x, y in outline], fill=int(255 * strength))
        if soft:
            mask = mask.filter(ImageFilter.GaussianBlur(soft))
        self.image.paste(colour, (left, top, right, bottom), mask)


def _camera(rng: np.random.Generator, road: float, spread: float) -> _Camera:
    wander = 0.6 + spread
    focus = rng.uniform(0.85, 1.15) * WIDTH * _SCALE
    yaw = rng.uniform(-0.13, 0.13) * wander
    return _Camera(
        focus=focus,
        height=5.6 + rng.uniform(-1, 1) * spread,
        horizon=rng.uniform(0.26, 0.40) * HEIGHT * _SCALE,
        x=rng.uniform(-0.22, 0.22) * road * wander + rng.uniform(-0.8, 0.8) * wander,
        middle=WIDTH * _SCALE / 2 + focus * np.tan(yaw) * 0.6,
        roll=np.deg2rad(np.clip(rng.normal(0, 1.3), -3, 3)),
        bend=rng.uniform(-1, 1) * 0.0016 if rng.random() < 1 / 3 else 0.0,
    )


_SKIES: dict[str, tuple[Colour, Colour]] = {
    "noon": ((84, 140, 205), (188, 213, 234)),
    "overcast": ((158, 164, 170), (200, 203, 205)),
    "dusk": ((58, 66, 108), (226, 150, 110)),
    "night": ((30, 36, 58), (60, 66, 92)),
    "fog": ((186, 190, 193), (204, 206, 207)),
    "low sun": ((110, 150, 196), (250, 214, 150)),
}


def _backdrop(canvas: _Canvas, rng: np.random.Generator, light: str) -> None:
    """Sky, what stands at the horizon, and the ground."""
    camera, width, height = canvas.camera, WIDTH * _SCALE, HEIGHT * _SCALE
    top, bottom = (np.array(colour, float) for colour in _SKIES[light])
    share = np.clip(np.arange(height) / camera.horizon, 0, 1)[:, None, None]
    sky = np.broadcast_to(top + (bottom - top) * share, (height, width, 3))
    canvas.image.paste(Image.fromarray(sky.astype(np.uint8)))
    edge = [camera.horizon_at(-200), camera.horizon_at(width + 200)]
    if light == "low sun":
        x, y = camera.horizon_at(rng.uniform(0.1, 0.9) * width, 40)
        canvas.draw.ellipse((x - 26, y - 26, x + 26, y + 26), fill=(255, 244, 214))
    kind = rng.choice(("hills", "trees", "town"))
    if kind == "hills":
        for layer in range(2):
            phase, wave = rng.uniform(0, 6), rng.uniform(110, 260)
            tops = [
                camera.horizon_at(x, 12 + (26 - 12 * layer) * (1.2 + np.sin(x / wave + phase)))
                for x in range(-200, width + 220, 20)
            ]
            canvas.draw.polygon([*tops, edge[1], edge[0]], fill=_grey((92, 112, 110), -22 * layer))
    elif kind == "trees":
        for x in range(-40, width + 60, 13):
            centre_x, centre_y = camera.horizon_at(x, 4)
            tall = rng.uniform(8, 34)
            box = (centre_x - tall * 0.7, centre_y - tall, centre_x + tall * 0.7, centre_y + 8)
            canvas.draw.ellipse(box, fill=_grey((50, 76, 46), rng.uniform(-14, 14)))
    else:
        x = -40.0
        while x < width + 40:
            wide, tall = rng.uniform(24, 70), rng.uniform(14, 78)
            left, right = camera.horizon_at(x, tall), camera.horizon_at(x + wide, -4)
            canvas.draw.rectangle(
                (left[0], left[1], right[0], right[1]), fill=_grey((122, 118, 116), rng.uniform(-26, 26))
            )
            x += wide + rng.uniform(0, 26)
    ground = _grey(((96, 116, 62), (134, 122, 88), (108, 110, 92))[rng.integers(3)], rng.uniform(-12, 12))
    canvas.draw.polygon([*edge, (width + 200, height + 200), (-200, height + 200)], fill=ground)


def _asphalt(canvas: _Canvas, rng: np.random.Generator, lanes: int, lane: float, light: str) -> None:
    """The road with its shoulders, patches, wear and, in the sun, shadows cast over it."""
    road = lanes * lane
    shade = rng.uniform(-16, 16)
    canvas.draw.polygon(canvas.strip(0, road + 2 * rng.uniform(0.7, 1.5), 4, _FAR), fill=_grey((98, 98, 100), shade))
    for _ in range(rng.integers(0, 3)):
        near = rng.uniform(10, 50)
        outline = canvas.strip(
            rng.uniform(-road / 2.4, road / 2.4), rng.uniform(1, 2.4), near, near * rng.uniform(1.1, 1.5)
        )
        canvas.blend([outline], _grey((84, 84, 86), shade), 0.7)
    wheels = [
        canvas.strip(-road / 2 + (number + 0.5) * lane + side * 0.85, 0.55, 4, 120)
        for number in range(lanes)
        for side in (-1, 1)
    ]
    canvas.blend(wheels, _grey((72, 72, 74), shade), rng.uniform(0.05, 0.32), soft=4)
    if light in ("noon", "low sun"):
        shadows = []
        for _ in range(rng.integers(0, 3)):
            near, lean = rng.uniform(12, 60), rng.uniform(-4, 4)
            side = road / 2 + 2
            far = near * rng.uniform(1.12, 1.35)
            shadows.append(
                [
                    canvas.camera.at(x, z)
                    for x, z in ((-side, near), (side, near + lean), (side, far + lean), (-side, far))
                ]
            )
        canvas.blend(shadows, (40, 42, 52), 0.38, soft=5)


def _paint(canvas: _Canvas, rng: np.random.Generator, lanes: int, lane: float, light: str) -> None:
    """The lines: solid at both edges, dashed between lanes."""
    road = lanes * lane
    worn = rng.uniform(0.74, 1.0)
    white: Colour = (238, 238, 232)
    left: Colour = (232, 186, 62) if rng.random() < 0.4 else white
    width = rng.uniform(0.15, 0.2)
    dash, gap = ((3.0, 6.0), (4.0, 6.0), (6.0, 6.0), (6.0, 9.0))[rng.integers(4)]
    phase = rng.uniform(0, dash + gap)
    canvas.blend([canvas.strip(-road / 2, width, 4, 400)], left, worn)
    canvas.blend([canvas.strip(road / 2, width, 4, 400)], white, worn)
    dashes = []
    for number in range(1, lanes):
        start = 4 - phase
        while start < 220:
            if start + dash > 4:
                dashes.append(canvas.strip(-road / 2 + number * lane, width, max(start, 4), start + dash))
            start += dash + gap
    canvas.blend(dashes, white, worn if light != "night" else 1.0)


def _rail(canvas: _Canvas, side: float) -> None:
    """A guard rail `side` metres from the road's middle: a band between 0.5 and 0.8 m up, on posts."""
    for z in np.arange(8, 120, 4.0):
        canvas.draw.line([canvas.camera.at(side, z), canvas.camera.at(side, z, 0.6)], fill=(110, 112, 114), width=2)
    depths = _depths(5, 300)
    low, high = ([canvas.camera.at(side, z, up) for z in depths] for up in (0.5, 0.82))
    canvas.draw.polygon(low + high[::-1], fill=(158, 160, 162))


_BODIES: tuple[Colour, ...] = (
    (188, 32, 34), (36, 74, 150), (224, 226, 228), (34, 36, 40), (150, 154, 158), (206, 162, 40), (42, 96, 66),
)  # fmt: skip


def _car(canvas: _Canvas, rng: np.random.Generator, x: float, z: float, dark: bool) -> None:
    """A car or van seen from behind, driving away `z` metres ahead."""
    van = rng.random() < 0.3
    half, tall, belt = (0.98, 2.1, 1.15) if van else (0.88, 1.42, 0.82)
    body = _grey(_BODIES[rng.integers(len(_BODIES))], rng.uniform(-10, 10))
    at = partial(canvas.camera.at)
    shadow = [
        at(x - half - 0.15, z - 0.3),
        at(x + half + 0.15, z - 0.3),
        at(x + half + 0.2, z + 3.8),
        at(x - half - 0.2, z + 3.8),
    ]
    canvas.blend([shadow], (20, 20, 24), 0.5, soft=3)
    inner = half * (0.94 if van else 0.74)
    roof_far = [at(x - inner, z + 2.6, tall), at(x + inner, z + 2.6, tall)]
    roof_near = [at(x + inner, z + 0.6, tall), at(x - inner, z + 0.6, tall)]
    canvas.draw.polygon([*roof_far, *roof_near], fill=_grey(body, 24))
    canvas.draw.polygon([at(x - half, z, belt), at(x + half, z, belt), *roof_near], fill=_grey(body, -8))
    glass = [
        at(x - half * 0.82, z, belt + 0.05),
        at(x + half * 0.82, z, belt + 0.05),
        at(x + inner * 0.86, z + 0.5, tall - 0.16),
        at(x - inner * 0.86, z + 0.5, tall - 0.16),
    ]
    canvas.draw.polygon(glass, fill=(52, 62, 72))
    canvas.draw.polygon(
        [at(x - half, z, 0.28), at(x + half, z, 0.28), at(x + half, z, belt), at(x - half, z, belt)], fill=body
    )
    for side in (-1, 1):
        inside, outside = x + side * half * 0.5, x + side * half * 0.88
        canvas.draw.polygon(
            [at(inside, z, 0), at(outside, z, 0), at(outside, z, 0.34), at(inside, z, 0.34)], fill=(18, 18, 20)
        )
        lamp = (255, 64, 48) if dark else (150, 20, 20)
        canvas.draw.polygon(
            [
                at(x + side * half * 0.7, z, belt - 0.3),
                at(x + side * half * 0.96, z, belt - 0.3),
                at(x + side * half * 0.96, z, belt - 0.08),
                at(x + side * half * 0.7, z, belt - 0.08),
            ],
            fill=lamp,
        )


def _traffic(canvas: _Canvas, rng: np.random.Generator, lanes: int, lane: float, light: str) -> None:
    """None to four vehicles, far ones first, never two in one place."""
    places = {(int(rng.integers(lanes)), int(rng.integers(5))) for _ in range(rng.integers(0, 5))}
    for number, slot in sorted(places, key=lambda place: -place[1]):
        x = -lanes * lane / 2 + (number + 0.5) * lane + rng.uniform(-0.3, 0.3)
        _car(canvas, rng, x, 17 + 14 * slot + rng.uniform(0, 6), light in ("night", "dusk"))


def _lit(values: Field, camera: _Camera, rng: np.random.Generator, light: str, road: float) -> Field:
    """The light of the hour over the finished drawing; `values` are HEIGHT x WIDTH x 3 in 0..255."""
    distance = camera.distance()
    if light == "overcast":
        return (values - 128) * 0.82 + 122
    if light == "dusk":
        return np.asarray(values * np.array([0.78, 0.73, 0.75]))
    if light == "low sun":
        return np.asarray(values * np.array([1.06, 0.94, 0.74]) + 10)
    if light == "fog":
        share = np.minimum(1 - np.exp(-distance / rng.uniform(60, 110)), 0.72)[:, :, None]
        return np.asarray(values * 0.94 * (1 - share) + np.array([198.0, 201.0, 203.0]) * share)
    if light == "night":
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH] * float(_SCALE)
        glow = np.full((HEIGHT, WIDTH), 0.34)
        side = rng.choice((-1, 1)) * (road / 2 + 1)
        for z in np.arange(rng.uniform(10, 22), 150, 24):
            at_x, at_y = camera.at(side * 0.5, z)
            wide, tall = camera.focus * 8 / z, camera.focus * camera.height * 7 / z**2 + 6
            glow += 0.62 * np.exp(-(((x - at_x) / wide) ** 2) - ((y - at_y) / tall) ** 2)
        return np.asarray(values * np.minimum(glow, 1.05)[:, :, None] * np.array([1.0, 0.9, 0.74]))
    return np.asarray(values * 1.04)


def light_of(seed: int) -> str:
    """The light of the scene with this seed."""
    return str(np.random.default_rng([seed, 1]).choice(LIGHTS))


def draw_scene(seed: int, lanes: int, spread: float = 0.4) -> Image.Image:
    """A road of `lanes` lanes, 448 x 320 RGB; `spread` widens what varies between cameras (0.4 is the demo's)."""
    rng = np.random.default_rng([seed, 2])
    light = light_of(seed)
    lane = 3.5 + rng.uniform(-0.3, 0.3) * spread
    canvas = _Canvas(_camera(rng, lanes * lane, spread))
    _backdrop(canvas, rng, light)
    _asphalt(canvas, rng, lanes, lane, light)
    _paint(canvas, rng, lanes, lane, light)
    if rng.random() < 0.4:
        _rail(canvas, rng.choice((-1, 1)) * (lanes * lane / 2 + 1.8))
    _traffic(canvas, rng, lanes, lane, light)
    small = canvas.image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    values = _lit(np.asarray(small, dtype=float), canvas.camera, rng, light, lanes * lane)
    blur = rng.uniform(0, 1.0 if light == "fog" else 1.6) * 0.7
    lit = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))
    grain = rng.normal(0, rng.uniform(1, 7), (HEIGHT, WIDTH, 1)) + rng.normal(0, 1, (HEIGHT, WIDTH, 3))
    return Image.fromarray(np.clip(np.asarray(lit) + grain, 0, 255).astype(np.uint8))


def _write(folder: Path, task: tuple[int, Scene]) -> None:
    seed, scene = task
    draw_scene(seed, scene.lanes).save(folder / scene.name, quality=JPEG_QUALITY)


def scene_seed(seed: int, number: int) -> int:
    """The seed of scene `number` of the set with this seed."""
    return seed * 100_000 + number


def write_scenes(folder: Path, count: int = 120, seed: int = DEFAULT_SEED) -> list[Scene]:
    """Draw `count` scenes into `folder`, as many of each number of lanes as can be; the same seed, the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = []
    for number in range(count):
        own = scene_seed(seed, number)
        tasks.append((own, Scene(f"road-{number:03d}.jpg", LANES[number % len(LANES)], light_of(own))))
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(partial(_write, folder), tasks, chunksize=8))
    return [scene for _, scene in tasks]
