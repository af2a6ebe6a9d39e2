"""One bean leaflet, drawn, not photographed: shape, veins, disease and light.

A leaflet has its own coordinates: u runs along the midrib from base (0) to tip (1), v across it,
both in units of the leaflet's length. Random fields live in these coordinates, never in
pixels, so a leaf looks the same at every resolution. Colours are linear light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

Array = NDArray[np.floating]
Rng = np.random.Generator

CELL_PITCH = 0.032  # mean width of an areole between tertiary veins, in leaf lengths
GRAIN_PITCH = 0.0135  # the finest net, which only roughens the surface
CELL_SCALE = np.array([0.9, 1.75])  # (p, v) to the net's space; v longer, as veins run aslant


def stream(*keys: int) -> Rng:
    """A generator of its own for each purpose, so that one choice never shifts another."""
    return np.random.default_rng([abs(int(key)) for key in keys])


def rgb(red: float, green: float, blue: float) -> Array:
    """sRGB bytes to linear light, shape (3,); the usual 2.2 power is close enough here."""
    return (np.array([red, green, blue]) / 255.0) ** 2.2


def mix(a: Array, b: Array, weight: Array) -> Array:
    """Blend colours of shape (..., 3) by a weight of shape (...)."""
    return a + (b - a) * np.clip(weight, 0, 1)[..., None]


def ramp(x: Array, low: float, high: float) -> Array:
    """Smoothstep from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: Rng, x: Array, y: Array, octaves: int = 3) -> Array:
    """Fractal value noise in about [-1, 1]; one lattice step is one unit of x or y."""
    total, amplitude, norm = np.zeros(np.shape(x)), 1.0, 0.0
    for octave in range(octaves):
        lattice = rng.uniform(-1, 1, (32, 32))
        steps = []
        for axis in (y, x):
            at = axis * 2**octave + rng.uniform(0, 32)
            part = at % 1
            steps.append(at - part + part * part * (3 - 2 * part))  # fade, as in Perlin (1985)
        total += amplitude * map_coordinates(lattice, steps, order=1, mode="grid-wrap")
        norm += amplitude
        amplitude *= 0.55
    return total / norm


@dataclass(frozen=True)
class Light:
    """Sun direction (x right, y down, z to the camera; unit length) and colours, linear RGB."""

    direction: tuple[float, float, float]
    sun: tuple[float, float, float]
    sky: tuple[float, float, float]
    gloss: float

    def shade(self, height: Array) -> tuple[Array, Array]:
        """Lambert light (h, w, 3) and a Blinn highlight (h, w) of a height field in pixels."""
        dy, dx = np.gradient(height)
        size = np.sqrt(dx * dx + dy * dy + 1)
        lx, ly, lz = self.direction
        facing = np.clip((lz - lx * dx - ly * dy) / size, 0, None) / lz
        half = np.array([lx, ly, lz + 1]) / np.linalg.norm([lx, ly, lz + 1])
        shine = np.clip((half[2] - half[0] * dx - half[1] * dy) / size, 0, 1) ** 14
        light = np.array(self.sky) * (0.6 + 0.4 / size)[..., None]
        return light + np.array(self.sun) * facing[..., None], shine * self.gloss


@dataclass(frozen=True)
class Leaf:
    """One leaflet: pose in frame units (0 to 1, y down), shape in leaf lengths."""

    base: tuple[float, float]
    length: float
    angle: float  # of the midrib, radians
    tilt: tuple[float, float]  # perspective along u and v
    bend: float
    widths: tuple[float, float]  # greatest half width on either side
    ends: tuple[float, float]  # exponents of the outline at base and tip
    slopes: tuple[float, float, float]  # of the secondary veins, see `phase`
    veins: tuple[tuple[float, ...], tuple[float, ...]]  # where they leave the midrib, each side
    fold: float
    seed: int

    def half_width(self, u: Array, v: Array) -> Array:
        """Outline W u^a (1 - u)^b, scaled so that W is the greatest half width."""
        a, b = self.ends
        peak = a / (a + b)
        u = np.clip(u, 0, 1)
        side = np.where(v < 0, *self.widths)
        return side * u**a * (1 - u) ** b / (peak**a * (1 - peak) ** b)

    def coordinates(self, size: int) -> tuple[Array, Array]:
        """u and v of every pixel of a square frame, shape (size, size) each."""
        axis = (np.arange(size) + 0.5) / size
        x = (axis[None, :] - self.base[0]) / self.length
        y = (axis[:, None] - self.base[1]) / self.length
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u, v = cos * x + sin * y, cos * y - sin * x
        depth = 1 + self.tilt[0] * np.clip(u, -1, 2) + self.tilt[1] * np.clip(v, -1, 1)
        u, v = u / depth, v / depth
        v = v - self.bend * np.clip(u, -1, 1.5) ** 2
        rng = stream(self.seed, 1)
        near = (np.abs(u) < 1.6) & (np.abs(v) < 1)
        for field in (u, v):
            field[near] += 0.016 * noise(rng, u[near] * 4, v[near] * 4, 3)
        return u, v

    def phase(self, u: Array, v: Array) -> Array:
        """Where the secondary vein through (u, v) leaves the midrib.

        Vein p is the curve u = p + (s0 + s1 (1 - p)) |v| + c v^2: basal veins rise more steeply.
        """
        s0, s1, c = self.slopes
        s = np.minimum(np.abs(v), 0.6)
        return (u - (s0 + s1) * s - c * s * s) / (1 - s1 * s)

    def net_space(self, u: Array, v: Array) -> Array:
        """Coordinates (..., 2) in which the cells between tertiary veins are even."""
        return np.stack([self.phase(u, v), v], -1) * CELL_SCALE

    def secondary(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Distance to the nearest secondary vein (leaf lengths) and the id of the strip between."""
        s0, s1, c = self.slopes
        s, p = np.minimum(np.abs(v), 0.6), self.phase(u, v)
        slope = s0 + s1 * (1 - p) + 2 * c * s
        scale = (1 - s1 * s) / np.sqrt(1 + slope * slope)
        distance, strip = np.empty(np.shape(p)), np.empty(np.shape(p), dtype=int)
        for side, (rows, origins) in enumerate(zip((v < 0, v >= 0), self.veins, strict=True)):
            at = np.array(origins)
            k = np.searchsorted(at, p[rows])
            low, high = at[np.maximum(k - 1, 0)], at[np.minimum(k, len(at) - 1)]
            gap = np.minimum(np.abs(p[rows] - low), np.abs(p[rows] - high)) * scale[rows]
            # Below the basal vein its own branches run out to the margin.
            branch = (s[rows] - 0.9 * (at[0] - p[rows])) / 0.075
            part = np.abs(branch - np.round(branch)) * 0.075 * 0.75
            distance[rows] = np.where((k == 0) & (branch > 0), np.minimum(gap, part), gap)
            strip[rows] = 1000 * side + np.where(k == 0, 500 + np.floor(branch).astype(int), k)
        return distance, strip


@dataclass(frozen=True)
class Surface:
    """The fields of one leaf on its crop of the frame, (h, w) each; distances in leaf lengths."""

    leaf: Leaf
    where: tuple[slice, slice]
    pixels: float  # pixels a leaf length
    u: Array
    v: Array
    edge: Array  # distance to the outline, above 0 inside
    secondary: Array
    tertiary: Array
    grain: Array
    strip: NDArray[np.integer]
    cell: NDArray[np.integer]
    sites: Array  # (cells, 2)


@dataclass(frozen=True)
class Lesions:
    """Signs of a disease, (h, w) each, 0 to 1."""

    core: Array
    rim: Array
    halo: Array
    raised: Array


def _net(rng: Rng, at: Array, pitch: float) -> tuple[Array, NDArray[np.integer], Array]:
    """Distance to the Voronoi edge and cell id of points (n, 2), and the jittered sites (cells, 2).

    The edge between sites a and b lies (d_b^2 - d_a^2) / (2 |a - b|) away (Worley 1996, F2 - F1).
    """
    grid = np.stack(np.meshgrid(np.arange(-1.0, 1.0, pitch), np.arange(-1.1, 1.1, pitch)), -1)
    sites = grid.reshape(-1, 2) + rng.uniform(-0.42, 0.42, (grid.size // 2, 2)) * pitch
    far, index = cKDTree(sites).query(at, k=2)
    apart = np.linalg.norm(sites[index[..., 0]] - sites[index[..., 1]], axis=-1)
    return (far[..., 1] ** 2 - far[..., 0] ** 2) / (2 * apart), index[..., 0], sites


def survey(leaf: Leaf, size: int, detail: bool = True) -> Surface | None:
    """Geometry and veins of a leaf in a (size, size) frame; None when the frame misses it."""
    u, v = leaf.coordinates(size)
    rng = stream(leaf.seed, 2)
    near = (u > -0.05) & (u < 1.05) & (np.abs(v) < 0.6)
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if len(rows) < 8 or len(columns) < 8:
        return None
    where = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    u, v = u[where], v[where]
    pixels = leaf.length * size
    wave = 0.007 * noise(rng, u * 16, np.sign(v) * 7.3, 2) * ramp(u, 0, 0.15)
    gap = leaf.half_width(u, v) + wave - np.abs(v)
    slope = np.hypot(*np.gradient(gap)) * pixels
    edge = np.where((u > 0) & (u < 1), gap / np.maximum(slope, 1.0), -1.0)
    secondary, strip = leaf.secondary(u, v)
    inside = edge > -3 / pixels
    tertiary, grain = np.full(u.shape, 0.02), np.full(u.shape, 0.005)
    cell, sites = np.zeros(u.shape, dtype=int), np.zeros((1, 2))
    if detail and inside.any():
        at = leaf.net_space(u[inside], v[inside])
        tertiary[inside], cell[inside], sites = _net(rng, at, CELL_PITCH)
        grain[inside] = _net(rng, at, GRAIN_PITCH)[0]
    finer = (tertiary, grain, strip, cell, sites)
    return Surface(leaf, where, pixels, u, v, edge, secondary, *finer)


def _scatter(leaf: Leaf, rng: Rng, count: int, margin: float = 0.93) -> Array:
    """`count` points (u, v), shape (count, 2), even over the leaf."""
    u, v = rng.uniform(0.01, 0.99, 60 * count + 60), rng.uniform(-0.5, 0.5, 60 * count + 60)
    return np.stack([u, v], -1)[np.abs(v) < margin * leaf.half_width(u, v)][:count]


def angular_spots(face: Surface, rng: Rng) -> Lesions:
    """Angular leaf spot: unions of areoles cut by the veins, which hold the fungus up."""
    severity = rng.beta(1.0, 1.8)
    count = int(5 + 60 * severity**1.6)
    centres = _scatter(face.leaf, rng, count, 0.99)
    places = face.leaf.net_space(centres[:, 0], centres[:, 1])
    strips = face.leaf.secondary(centres[:, 0], centres[:, 1])[1]
    tree = cKDTree(face.sites)
    radii = 0.021 * (1 + 0.8 * severity) * np.exp(rng.normal(0, 0.5, count))
    keys: list[int] = []
    for place, strip, radius in zip(places, strips, radii, strict=True):
        found = np.array(tree.query_ball_point(place, radius * 1.35) + [tree.query(place)[1]])
        far = np.linalg.norm(face.sites[found] - place, axis=1)
        kept = found[far <= np.maximum(radius * rng.uniform(0.6, 1.35, len(found)), far.min())]
        reach = [0, 1] if radius > 0.03 and rng.random() < 0.5 else [0]  # large ones cross a vein
        keys.extend(int((strip + step) * len(face.sites) + k) for step in reach for k in kept)
    core = np.isin(face.strip * len(face.sites) + face.cell, keys) & (face.edge > 0)
    depth = distance_transform_edt(core) / face.pixels
    around = gaussian_filter(core.astype(float), rng.uniform(0.006, 0.022) * face.pixels)
    halo = np.clip(2.7 * around, 0, 1) * rng.uniform(0.1, 1.0)
    halo = halo * (0.6 + 0.5 * noise(rng, face.u * 7, face.v * 7, 2))
    soft = gaussian_filter(core.astype(float), 0.0022 * face.pixels)
    return Lesions(soft, core * np.exp(-depth / 0.004), halo, -0.25 * soft)


def rust_pustules(face: Surface, rng: Rng) -> Lesions:
    """Bean rust: small round raised pustules in yellow haloes, partly in clusters."""
    severity = rng.beta(1.0, 1.8)
    parents = _scatter(face.leaf, rng, int(6 + 90 * severity**1.5))
    near = rng.random(len(parents)) < rng.uniform(0.1, 0.6)
    twins = parents[near] + rng.normal(0, 0.022, (int(near.sum()), 2))
    points = np.concatenate([parents, twins])
    radii = rng.uniform(0.008, 0.0115) * np.exp(rng.normal(0, 0.27, len(points)))
    radii = np.clip(radii, 0.0065, 0.018)
    far, index = cKDTree(points).query(np.stack([face.u, face.v], -1), k=3)
    pick = (far - radii[index]).argmin(-1)[..., None]  # a large one may reach over a nearer centre
    size = radii[np.take_along_axis(index, pick, -1)[..., 0]]
    gap = np.take_along_axis(far, pick, -1)[..., 0] - size
    core = ramp(-gap * face.pixels, -0.8, 0.8)
    dome = np.sqrt(np.clip(-gap / size, 0, 1))
    halo = np.exp(-np.maximum(gap, 0) / (size * rng.uniform(0.5, 1.1))) * rng.uniform(0.5, 1.0)
    yellow = ramp(noise(rng, face.u * 4, face.v * 4, 2), -0.1, 0.6)
    yellow = yellow * rng.uniform(0, 0.6) * (severity > 0.4)
    fields = (core, core * ramp(dome, 0.35, 0.9), np.maximum(halo, yellow), dome)
    return Lesions(*(field * (face.edge > 0) for field in fields))


SIGNS = {
    "angular_leaf_spot": angular_spots,
    "bean_rust": rust_pustules,
    "healthy": lambda face, rng: Lesions(*np.zeros((4, *face.u.shape))),
}


def veins_at(face: Surface) -> tuple[Array, Array, Array]:
    """Strength 0 to 1 of midrib, secondary and finer veins, (h, w) each."""
    reach = np.clip(np.abs(face.v) / np.maximum(face.leaf.half_width(face.u, face.v), 1e-3), 0, 1)
    midrib = np.exp(-((np.abs(face.v) / (0.0025 + 0.0075 * np.clip(1 - face.u, 0, 1))) ** 2))
    secondary = np.exp(-((face.secondary / (0.0062 - 0.0035 * reach)) ** 2)) * (1 - 0.6 * reach**3)
    grain = np.exp(-((face.grain / 0.002) ** 2))
    finer = np.maximum(np.exp(-((face.tertiary / 0.003) ** 2)), 0.45 * grain)
    return midrib, secondary, finer


def _relief(face: Surface, lesions: Lesions, rng: Rng) -> Array:
    """Height in pixels: quilted between the veins, folded at the midrib, waved at large."""
    quilt = rng.uniform(0.5, 1.3)
    height = -0.011 * quilt * np.exp(-face.secondary / 0.022)
    height -= 0.0042 * quilt * np.exp(-face.tertiary / 0.007) + 0.0011 * np.exp(-face.grain / 0.003)
    height += 0.008 * quilt * np.tanh(np.abs(face.v) / 0.03)
    height += 0.03 * noise(rng, face.u * 3, face.v * 3, 2)
    height += 0.003 * noise(rng, face.u * 14, face.v * 14, 2)
    height += face.leaf.fold * np.sqrt(face.v**2 + 4e-4) + rng.normal(0, 0.12) * face.u**2
    height += 0.004 * lesions.raised
    return height * face.pixels


def _skin(face: Surface, rng: Rng) -> Array:
    """Linear RGB (h, w, 3) of a clean leaf."""
    greens = ((66, 122, 44), (104, 152, 52), (52, 104, 56), (84, 150, 76), (134, 164, 66))
    base = rng.dirichlet([0.5] * 5) @ [rgb(*green) for green in greens]
    base = np.broadcast_to(base, (*face.u.shape, 3))
    light, dark = base * np.array([1.5, 1.25, 1.1]), base * np.array([0.6, 0.75, 0.75])
    colour = mix(base, light, 0.5 + 0.9 * noise(rng, face.u * 3, face.v * 3, 4))
    colour = mix(colour, dark, rng.uniform(0, 0.6) * np.exp(-face.secondary / 0.02))
    old = ramp(noise(rng, face.u * 2.5, face.v * 2.5, 3), 0.1, 0.8)
    colour = mix(colour, rgb(176, 178, 60), rng.uniform(0, 0.5) * old)
    colour = mix(colour, rgb(182, 182, 70), rng.uniform(0, 0.5) * np.exp(-face.edge / 0.006))
    midrib, secondary, finer = veins_at(face)
    tint = rgb(*rng.uniform((170, 190, 100), (205, 210, 140)))
    pale = mix(base * 1.2, tint, np.asarray(rng.uniform(0.4, 0.9)))
    strength = rng.uniform(0.35, 0.85)
    return mix(colour, pale, np.maximum(midrib, strength * np.maximum(secondary, 0.42 * finer)))


def _diseased(colour: Array, face: Surface, lesions: Lesions, label: str, rng: Rng) -> Array:
    """Lay halo, core and rim over a clean leaf's colour."""
    yellow = rgb(*rng.uniform((196, 178, 30), (216, 200, 70)))
    colour = mix(colour, yellow * 0.9, 0.85 * lesions.halo)
    if label == "bean_rust":
        brown, dark = rgb(*rng.uniform((122, 76, 36), (154, 98, 60))), rgb(70, 40, 26)
        return mix(mix(colour, brown, lesions.core), dark, rng.uniform(0.4, 0.85) * lesions.rim)
    shade = rng.random(len(face.sites))[face.cell] + 0.6 * noise(rng, face.u * 9, face.v * 9, 3)
    brown = mix(rgb(128, 92, 58), rgb(118, 84, 82), np.asarray(rng.random()))
    patches = mix(brown, 1.63 * brown, 0.7 * shade) * rng.uniform(0.7, 1.3)
    colour = mix(colour, patches, 0.96 * lesions.core)
    return mix(colour, rgb(*rng.uniform((64, 38, 28), (88, 52, 40))), 0.8 * lesions.rim)


def _spots(face: Surface, rng: Rng, points: Array, radii: Array) -> Array:
    """Signed gap (leaf lengths, below 0 inside) to ragged discs, (h, w)."""
    far, index = cKDTree(points).query(np.stack([face.u, face.v], -1))
    return far * (1 + 0.45 * noise(rng, face.u * 45, face.v * 45, 2)) - radii[index]


def _blemish(colour: Array, face: Surface, rng: Rng) -> tuple[Array, Array]:
    """Marks that every class shares (dust, dirt, dry edge); returns colour and holes, 0 to 1."""
    soil = rgb(*rng.uniform((84, 56, 38), (128, 84, 58)))
    dust = ramp(noise(rng, face.u * 6, face.v * 6, 4), -0.2, 0.7)
    colour = mix(colour, soil * 2.2, dust * rng.uniform(0, 0.35) * (rng.random() < 0.6))
    if rng.random() < 0.55:
        count = int(rng.integers(3, 45))
        radii = 0.0035 * np.exp(rng.normal(0, 0.5, count))
        gap = _spots(face, rng, _scatter(face.leaf, rng, count), radii)
        colour = mix(colour, soil * rng.uniform(0.4, 1.2), ramp(-gap * face.pixels, -0.7, 0.9))
    if rng.random() < 0.35:
        dry = 0.05 * (noise(rng, face.u * 5, face.v * 5, 4) - rng.uniform(-0.05, 0.25)) - face.edge
        tan = rgb(*rng.uniform((140, 100, 60), (190, 156, 104)))
        colour = mix(colour, rgb(190, 176, 60), 0.7 * ramp(dry, -0.015, 0.004))
        tan = mix(tan, tan * 0.4, 0.5 + noise(rng, face.u * 20, face.v * 20, 2))
        colour = mix(colour, tan, ramp(dry, -0.001, 0.003))
    holes = np.zeros(face.u.shape)
    if rng.random() < 0.4:
        count = int(rng.integers(1, 6))
        radii = 0.012 * np.exp(rng.normal(0, 0.5, count))
        gap = _spots(face, rng, _scatter(face.leaf, rng, count, 1.05), radii)
        colour = mix(colour, rgb(120, 96, 50), ramp(-gap, -0.006, -0.001))
        holes = ramp(-gap * face.pixels, -0.7, 0.7)
    return colour, holes


def _droplets(colour: Array, face: Surface, light: Light, rng: Rng) -> Array:
    """Water beads: dim towards the sun, bright away from it, with one glint (h, w, 3)."""
    points = _scatter(face.leaf, rng, int(rng.integers(4, 30)))
    radii = 0.011 * np.exp(rng.normal(0, 0.4, len(points)))
    far, index = cKDTree(points).query(np.stack([face.u, face.v], -1))
    inside = ramp((radii[index] - far) * face.pixels, -0.7, 0.7)
    cos, sin = np.cos(face.leaf.angle), np.sin(face.leaf.angle)
    du, dv = (face.u - points[index, 0]) / radii[index], (face.v - points[index, 1]) / radii[index]
    toward = (cos * du - sin * dv) * light.direction[0] + (sin * du + cos * dv) * light.direction[1]
    colour = colour * (1 - 0.55 * inside * toward)[..., None]
    glint = np.exp(-((toward - 0.45) ** 2 + 0.6 * (du * du + dv * dv - 0.2) ** 2) / 0.02) * inside
    return colour + 0.8 * glint[..., None]


def paint(face: Surface, label: str, light: Light) -> tuple[Array, Array, Lesions]:
    """Light (h, w, 3), opacity (h, w) and signs of disease of one leaf on its crop."""
    if label not in SIGNS:
        raise ValueError(f"unknown label {label!r}; there are {', '.join(SIGNS)}")
    seed = face.leaf.seed
    lesions = SIGNS[label](face, stream(seed, 3, list(SIGNS).index(label)))
    colour = _diseased(_skin(face, stream(seed, 4)), face, lesions, label, stream(seed, 5))
    colour, holes = _blemish(colour, face, stream(seed, 6))
    lit, shine = light.shade(_relief(face, lesions, stream(seed, 7)))
    midrib, secondary, _ = veins_at(face)
    dull = (1 - 0.8 * lesions.core) * (1 - 0.5 * np.maximum(midrib, secondary))
    colour = np.clip(colour, 0.003, 1) * lit + (shine * dull)[..., None] * np.array([0.9, 1.0, 1.0])
    rng = stream(seed, 8)
    if rng.random() < 0.2:
        colour = _droplets(colour, face, light, rng)
    return np.clip(colour, 0, 4), ramp(face.edge * face.pixels, -0.7, 0.7) * (1 - holes), lesions
