"""Estimate where the lungs lie in an upright frontal chest radiograph, without a trained network."""

import functools
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from csss.imaging.quality import QualityCheck, QualityFinding

Floats = NDArray[np.float32]

GRID = 96
"""Side of the square grid of the masks; the whole picture is stretched onto it, as a heat map is."""

MOST_BEYOND = 0.03
"""How far an outline may reach beyond the picture, as a share of its side, before a note says so."""
MOST_TILT_DEG = 10.0
"""How far the thorax may lean before a note says so, in degrees."""

_COARSE = 24
_SMOOTH = 40
_PEN = 0.01
_RAYS = 32
_STEPS = 25
_REACH = 5
_STRETCH = np.linspace(0.55, 1.45, _STEPS, dtype=np.float32)
_SHAPE_WEIGHT = 0.7
_STEP_COST = 0.02
_LEAST_FIT = 0.28
_LEAST_FIT_FOR_TILT = 0.2
_LEAST_LENGTH = 1e-3
_LEAST_CONTRAST = 0.12
_LEAST_CONTRAST_OF_ONE = 0.05
_LEAST_AREA = 0.03
_LEAST_BALANCE = 0.5

# Outlines of the lungs in the frame of the thorax: across from -1 to 1 (the outermost borders of the two lungs), down
# from 0 (the apices) to 1 (the deepest recess). Drawn by hand, then corrected by eye on the mean of 500 pictures that
# had been brought into this frame. The patient faces the viewer: the patient's right lung lies on the left.
_RIGHT = np.array(
    [
        *((-0.42, 0.00), (-0.60, 0.05), (-0.78, 0.20), (-0.90, 0.45), (-0.97, 0.70), (-1.00, 0.90), (-0.98, 0.97)),
        *((-0.82, 0.88), (-0.55, 0.80), (-0.30, 0.83), (-0.25, 0.60), (-0.19, 0.40), (-0.16, 0.20), (-0.20, 0.08)),
        (-0.30, 0.01),
    ]
)
_LEFT = np.array(
    [
        *((0.42, 0.00), (0.60, 0.05), (0.78, 0.20), (0.90, 0.45), (0.97, 0.70), (1.00, 0.90), (0.98, 0.97)),
        *((0.86, 0.91), (0.70, 0.85), (0.56, 0.82), (0.47, 0.68), (0.33, 0.50), (0.20, 0.35), (0.16, 0.20)),
        *((0.20, 0.08), (0.30, 0.01)),
    ]
)
_CENTRES = np.array([(-0.56, 0.47), (0.60, 0.45)])

# Where a thorax may lie, as shares of the picture: middle, half width, apices, deepest recess.
_MIDDLES = np.linspace(0.40, 0.60, 7)
_HALF_WIDTHS = np.linspace(0.26, 0.48, 7)
_TOPS = np.linspace(-0.02, 0.30, 6)
_BOTTOMS = np.linspace(0.60, 1.10, 8)
_LEAST_HEIGHT = 0.42
# Mean and spread of those four over the 945 validation pictures with a fit above 0.4, found without this preference.
_USUAL = np.array((0.505, 0.349, 0.133, 0.864))
_SPREAD = np.array((0.035, 0.038, 0.070, 0.103))
_NEIGHBOURS = np.array((0.034, 0.037, 0.065, 0.072))
_TURN_DEG = 10.0
_RARITY_WEIGHT = 0.004

# The fields of a picture that shows no lungs one could find: plain shares of its width and height.
_FIXED_COLUMNS = {"right": (0.10, 0.47), "left": (0.53, 0.90)}
_FIXED_ROWS = (0.12, 0.84)


@dataclass(frozen=True, slots=True, eq=False)
class LungFields:
    """Masks of the patient's ``right`` and ``left`` lung field, boolean (GRID, GRID) over the whole picture.

    ``outlines`` float64 (2, points, 2) are their borders (right, left; x, y) as shares of width and height, below 0
    or above 1 where a lung goes on beyond the picture. ``fit`` is how well the picture resembles a thorax at the
    best place, a correlation. Not ``plausible``: nothing like two lungs was found and the fields are fixed rectangles.
    """

    right: NDArray[np.bool_]
    left: NDArray[np.bool_]
    outlines: NDArray[np.float64]
    plausible: bool
    fit: float
    tilt_deg: float


@dataclass(frozen=True, slots=True)
class _Thorax:
    middle: float
    half_width: float
    top: float
    bottom: float


def estimate_lungs(grey: NDArray[np.uint8]) -> LungFields:
    """The lung fields of an upright frontal picture, uint8 (rows, columns), larger = brighter: an estimate, no anatomy.

    First a drawn thorax is laid over the equalised picture at many places and sizes; the one with the
    largest correlation stays. Then each outline is moved along rays from the lung's centre to where dark turns bright,
    all rays at once by dynamic programming, held back by the drawn shape: a lung whose border is lost
    in an opacity keeps the usual border there, and the opacity stays inside the field. Equalised greys make the
    estimate blind to brightness and gamma. Raises ValueError for anything but a grey uint8 picture of at least a pixel.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8 or grey.size == 0:
        raise ValueError("A grey picture, uint8 (rows, columns), is needed.")
    equal = _equalise(_reduce(grey))
    thorax, fit = _find_thorax(equal)
    outlines = _follow_borders(equal, thorax)
    right, left = (_fill(outline) for outline in outlines)
    tilt_deg = _measure_tilt(equal, thorax)
    if fit < _LEAST_FIT or not _make_sense(equal, right, left):
        return fixed_fields(fit, tilt_deg)
    return LungFields(right, left, outlines, True, fit, tilt_deg)


def check_fields(fields: LungFields) -> tuple[QualityFinding, ...]:
    """Notes for the doctor about lungs that are cut off, tilted or not found; never a fault, () when all is well."""
    notes = []
    beyond = float(np.max([-fields.outlines, fields.outlines - 1.0]))
    if fields.plausible and beyond > MOST_BEYOND:
        notes.append(QualityFinding(QualityCheck.TRUNCATION, False, beyond, MOST_BEYOND))
    if fields.fit >= _LEAST_FIT_FOR_TILT and abs(fields.tilt_deg) > MOST_TILT_DEG:
        notes.append(QualityFinding(QualityCheck.ROTATION, False, abs(fields.tilt_deg), MOST_TILT_DEG))
    if not fields.plausible:
        notes.append(QualityFinding(QualityCheck.LUNGS_NOT_FOUND, False, fields.fit, _LEAST_FIT))
    return tuple(notes)


def fixed_fields(fit: float = 0.0, tilt_deg: float = 0.0) -> LungFields:
    """The fields of an upright frontal view as fixed rectangles, not ``plausible``: they know no picture."""
    top, bottom = _FIXED_ROWS
    corners = [((a, top), (b, top), (b, bottom), (a, bottom)) for a, b in _FIXED_COLUMNS.values()]
    right, left = np.zeros((2, GRID, GRID), dtype=bool)
    for mask, (start, stop) in zip((right, left), _FIXED_COLUMNS.values(), strict=True):
        mask[round(top * GRID) : round(bottom * GRID), round(start * GRID) : round(stop * GRID)] = True
    return LungFields(right, left, np.array(corners), False, fit, tilt_deg)


def _reduce(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(grey).resize((GRID, GRID), Image.Resampling.BOX, reducing_gap=2.0))


def _equalise(small: NDArray[np.uint8]) -> Floats:
    """Each grey's share of pixels that are as dark or darker, float32 in (0, 1]."""
    counts = np.bincount(small.ravel(), minlength=256).cumsum()
    return np.take((counts / counts[-1]).astype(np.float32), small)


def _resize(plane: Floats, side: int, filter_: Image.Resampling) -> Floats:
    return np.asarray(Image.fromarray(plane).resize((side, side), filter_))


def _find_thorax(equal: Floats) -> tuple[_Thorax, float]:
    """The likeliest place of the thorax and its correlation with the picture."""
    places, rarity, patterns = _drawn_thoraces()
    fits = patterns @ _detail(equal)
    best = int((fits - _RARITY_WEIGHT * rarity).argmax())
    return _Thorax(*places[best].tolist()), float(fits[best])


def _detail(equal: Floats) -> Floats:
    """The picture on 24 x 24 pixels less what varies slowly, as a vector of unit length; of a flat one, zeros."""
    coarse = _resize(equal, _COARSE, Image.Resampling.BOX)
    softened = _softening()
    detail = np.asarray(coarse - softened.T @ coarse @ softened, dtype=np.float32).ravel()
    length = float(np.sqrt(detail @ detail))
    return detail / np.float32(length) if length > _LEAST_LENGTH else np.zeros_like(detail)


@functools.cache
def _softening() -> Floats:
    """What reducing 24 columns to 5 and enlarging them again does to a row, as a matrix (24, 24)."""
    rows = Image.fromarray(np.eye(_COARSE, dtype=np.float32))
    few = rows.resize((5, _COARSE), Image.Resampling.BILINEAR)
    return np.asarray(few.resize((_COARSE, _COARSE), Image.Resampling.BICUBIC))


def _measure_tilt(equal: Floats, thorax: _Thorax) -> float:
    """The angle in degrees, clockwise, at which the picture turned back fits an upright thorax best.

    Only places next to the one found are tried; between the angles tried the best is read off a parabola.
    """
    near = _drawn_thoraces()[2][_neighbours(thorax)]
    picture = Image.fromarray(_resize(equal, 2 * _COARSE, Image.Resampling.BOX))
    hub = (2 * _COARSE * thorax.middle, _COARSE * (thorax.top + thorax.bottom))

    def fit(angle: float) -> float:
        turned = picture.rotate(angle, Image.Resampling.BILINEAR, center=hub, fillcolor=0.5)
        return float((near @ _detail(np.asarray(turned))).max())

    fits = {angle: fit(angle) for angle in (0.0, -_TURN_DEG, _TURN_DEG)}
    peak = max(fits, key=lambda angle: fits[angle])
    if peak != 0.0:
        fits[2.0 * peak] = fit(2.0 * peak)
    before, here, after = fits[peak - _TURN_DEG], fits[peak], fits[peak + _TURN_DEG]
    bend = before - 2.0 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0.0 else 0.0
    return peak + _TURN_DEG * min(max(shift, -1.0), 1.0)


@functools.cache
def _neighbours(thorax: _Thorax) -> NDArray[np.intp]:
    """The places of `_drawn_thoraces` next to one of them, and itself."""
    places = _drawn_thoraces()[0]
    return np.flatnonzero((np.abs(places - np.array(astuple(thorax))) <= _NEIGHBOURS).all(axis=1))


@functools.cache
def _drawn_thoraces() -> tuple[NDArray[np.float64], Floats, Floats]:
    """Every place a thorax may have (places, 4), how far it is from usual, its pattern (places, 24 * 24)."""
    pixels = _centres_of_pixels(_COARSE)
    across = np.array([(middle, half) for middle in _MIDDLES for half in _HALF_WIDTHS])
    down = np.array([(top, bottom) for top in _TOPS for bottom in _BOTTOMS if bottom - top >= _LEAST_HEIGHT])
    columns = (pixels - across[:, :1]) / across[:, 1:]
    rows = (pixels - down[:, :1]) / (down[:, 1:] - down[:, :1])
    drawing, chosen = _drawn_thorax(), _drawn_column(columns)[:, np.newaxis, :]
    # Height by height: all at once would need four times the memory that stays.
    patterns = np.empty((len(down), len(across), _COARSE**2), dtype=np.float32)
    for height, rows_of_one in zip(patterns, _drawn_row(rows), strict=True):
        height[:] = _correlated(drawing[rows_of_one[:, np.newaxis], chosen].reshape(len(across), _COARSE**2))
    places = np.hstack([np.tile(across, (len(down), 1)), np.repeat(down, len(across), axis=0)])
    rarity = (((places - _USUAL) / _SPREAD) ** 2).sum(axis=1)
    return places, rarity.astype(np.float32), patterns.reshape(len(places), _COARSE**2)


def _correlated(drawn: NDArray[np.int8]) -> Floats:
    """Patterns (places, pixels) whose product with a picture is mean of bright less mean of dark, of unit length."""
    bright, dark = (drawn == 1).astype(np.float32), (drawn == -1).astype(np.float32)
    patterns: Floats = bright / bright.sum(axis=1, keepdims=True) - dark / dark.sum(axis=1, keepdims=True)
    patterns /= np.sqrt((patterns**2).sum(axis=1, keepdims=True))
    return patterns


def _drawn_thorax() -> NDArray[np.int8]:
    """Dark lungs (-1) inside a bright wall, mediastinum and abdomen (1); what lies farther out counts nothing (0).

    In the frame of the thorax, across from -1.4 to 1.4 and down from -0.2 to 1.3.
    """
    down, across = np.meshgrid(np.arange(-0.2, 1.3, _PEN), np.arange(-1.4, 1.4, _PEN), indexing="ij")
    lungs = _inside(_RIGHT, across, down) | _inside(_LEFT, across, down)
    wall = np.zeros_like(lungs)
    for outline in (_RIGHT, _LEFT):
        centre = outline.mean(axis=0)
        wall |= _inside((outline - centre) * (1.35, 1.16) + centre, across, down)
    wall |= (np.abs(across) < 0.25) & (down > 0.0) & (down < 1.05)
    wall |= (np.abs(across) < 0.95) & (down > 0.8) & (down < 1.15)
    return np.where(lungs, -1, wall).astype(np.int8)


def _drawn_row(down: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.clip((down + 0.2) / _PEN, 0, 1.5 / _PEN - 1).astype(np.intp)


def _drawn_column(across: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.clip((across + 1.4) / _PEN, 0, 2.8 / _PEN - 1).astype(np.intp)


def _inside(outline: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points lie inside a closed outline (points, 2), by the parity of its crossings to their right."""
    odd = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 != y1:
            odd ^= ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
    return odd


@functools.cache
def _spokes() -> NDArray[np.float64]:
    """From each lung's centre to its drawn outline along evenly spread directions, (2, rays, 2), thorax frame."""
    angles = 2.0 * np.pi * np.arange(_RAYS) / _RAYS
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lengths = [
        _distances(outline - centre, directions) for outline, centre in zip((_RIGHT, _LEFT), _CENTRES, strict=True)
    ]
    spokes: NDArray[np.float64] = np.array(lengths)[..., np.newaxis] * directions
    return spokes


def _distances(outline: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the outline lies from the origin in each direction: the farthest crossing."""
    sides = np.roll(outline, -1, axis=0) - outline
    facing = sides[:, 0] * -directions[:, 1:] + directions[:, :1] * sides[:, 1]
    across = outline[:, 0] * directions[:, 1:] - directions[:, :1] * outline[:, 1]
    share = across / np.where(facing == 0.0, np.inf, facing)
    reach = (outline + share[..., np.newaxis] * sides) @ directions[:, :, np.newaxis]
    farthest: NDArray[np.float64] = np.where((share >= 0.0) & (share <= 1.0), reach[..., 0], 0.0).max(axis=1)
    return farthest


def _follow_borders(equal: Floats, thorax: _Thorax) -> NDArray[np.float64]:
    """The two outlines (2, rays, 2) as shares of the picture."""
    size = np.array([thorax.half_width, thorax.bottom - thorax.top])
    centres = np.array([thorax.middle, thorax.top]) + _CENTRES[:, np.newaxis] * size
    spokes = _spokes() * size
    smooth = _resize(_resize(equal, _SMOOTH, Image.Resampling.BOX), GRID, Image.Resampling.BICUBIC)
    step = float(_STRETCH[1] - _STRETCH[0])
    reach = _STRETCH[0] + step * np.arange(-_REACH, _STEPS + _REACH)
    places = (centres[:, :, np.newaxis] + spokes[:, :, np.newaxis] * reach[:, np.newaxis]) * GRID
    columns, rows = np.moveaxis(np.clip(places, 0, GRID - 1).astype(np.intp), -1, 0)
    totals = np.zeros((2, _RAYS, len(reach) + 1), dtype=np.float32)
    np.cumsum(smooth[rows, columns], axis=2, out=totals[..., 1:])
    means = (totals[..., _REACH:] - totals[..., :-_REACH]) / _REACH
    rise = means[..., _REACH : _REACH + _STEPS] - means[..., :_STEPS]
    chosen = _cheapest_ring((_SHAPE_WEIGHT * (_STRETCH - 1.0) ** 2 - rise).astype(np.float32))
    outlines: NDArray[np.float64] = centres + spokes * _STRETCH[chosen][..., np.newaxis]
    return outlines


def _cheapest_ring(cost: Floats) -> NDArray[np.intp]:
    """For each of the two lungs one step per ray, neighbours at most one apart, of least cost: (2, rays).

    The ring is unrolled to one and a half rounds, and the middle of the path is kept: its loose ends tell no more.
    The path grows from both ends at once and is joined in its middle.
    """
    half = _RAYS * 3 // 4
    orders = np.stack([np.arange(half), np.arange(2 * half - 1, half - 1, -1)]) % _RAYS
    costs = cost[:, orders].transpose(2, 1, 0, 3)
    best = np.full((half, 2, 2, _STEPS + 2), np.inf, dtype=np.float32)
    best[0, ..., 1:-1] = costs[0]
    for turn in range(1, half):
        np.add(_reached(best[turn - 1]), costs[turn], out=best[turn, ..., 1:-1])
    forward, backward = best[-1]
    joined = forward[:, 1:-1] + _reached(backward)
    table, rays = best.tolist(), orders.tolist()
    ring = np.zeros((2, _RAYS), dtype=np.intp)
    for lung, step in enumerate(joined.argmin(axis=1).tolist()):
        for end, start in enumerate((1 + step, _cheapest_beside(table[-1][1][lung], 1 + step))):
            at = start
            for turn in range(half - 1, _RAYS // 4 - 1, -1):
                ring[lung, rays[end][turn]] = at - 1
                at = _cheapest_beside(table[turn - 1][end][lung], at)
    return ring


def _reached(before: Floats) -> Floats:
    """The least cost (..., steps) at which each step is reached from those (..., 1 + steps + 1) of the ray before."""
    beside: Floats = np.minimum(before[..., :-2], before[..., 2:])
    beside += _STEP_COST
    return np.minimum(beside, before[..., 1:-1], out=beside)


def _cheapest_beside(row: list[float], at: int) -> int:
    return min((row[at], at), (row[at - 1] + _STEP_COST, at - 1), (row[at + 1] + _STEP_COST, at + 1))[1]


def _fill(outline: NDArray[np.float64]) -> NDArray[np.bool_]:
    canvas = Image.new("L", (GRID, GRID))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in (outline * GRID - 0.5).tolist()], fill=1)
    return np.asarray(canvas, dtype=bool)


def _make_sense(equal: Floats, right: NDArray[np.bool_], left: NDArray[np.bool_]) -> bool:
    """Both fields are large enough, of like size, and darker than what lies around them."""
    small, large = sorted((int(right.sum()), int(left.sum())))
    if small < _LEAST_AREA * GRID**2 or small < _LEAST_BALANCE * large:
        return False
    contrasts = [_contrast(equal, mask) for mask in (right, left)]
    return min(contrasts) >= _LEAST_CONTRAST_OF_ONE and sum(contrasts) / 2 >= _LEAST_CONTRAST


def _contrast(equal: Floats, field: NDArray[np.bool_]) -> float:
    """How much brighter the near surroundings of a field are than the field, in shares of all greys."""
    near = Image.fromarray(field.astype(np.uint8) * 255).resize((_COARSE, _COARSE), Image.Resampling.BOX)
    wide = np.asarray(near.resize((GRID, GRID), Image.Resampling.BICUBIC)) > 12
    ring = wide & ~field
    return float(equal[ring].mean() - equal[field].mean()) if ring.any() else 0.0


def _centres_of_pixels(side: int) -> NDArray[np.float64]:
    centres: NDArray[np.float64] = (np.arange(side) + 0.5) / side
    return centres
