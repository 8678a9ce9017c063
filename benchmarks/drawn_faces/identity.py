"""Who is drawn: the parameters of a face that stay the same from picture to picture."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import numpy as np

Color = tuple[float, float, float]
HairStyle = Literal["bald", "buzz", "short", "parted", "fringe", "long", "bob", "curly", "receding"]
Beard = Literal["none", "stubble", "moustache", "goatee", "full"]

SKIN_TONES: tuple[Color, ...] = (
    (243, 212, 190),
    (233, 194, 166),
    (221, 176, 142),
    (202, 152, 115),
    (176, 124, 88),
    (142, 96, 66),
    (108, 72, 50),
    (82, 54, 40),
)
HAIR_COLORS: tuple[Color, ...] = (
    (24, 20, 20),
    (44, 30, 24),
    (74, 50, 34),
    (112, 76, 46),
    (134, 66, 36),
    (186, 146, 92),
    (212, 184, 136),
    (150, 148, 146),
)
EYE_COLORS: tuple[Color, ...] = (
    (52, 32, 22),
    (86, 54, 32),
    (108, 88, 48),
    (84, 108, 70),
    (84, 124, 158),
    (112, 128, 138),
)
HAIR_STYLES: tuple[HairStyle, ...] = get_args(HairStyle)
BEARDS: tuple[Beard, ...] = get_args(Beard)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """A face. Lengths are pixels of the 112x112 aligned crop, colors are RGB 0 to 255, the rest are fractions.

    The defaults are the average face, whose landmarks lie on the ArcFace template. `seed` fixes what has no
    parameter: strands of hair, freckles, the mottling of the skin.
    """

    seed: int = 0
    face_width: float = 40.0
    jaw: float = 0.84
    chin_width: float = 13.0
    chin_y: float = 114.0
    cheeks: float = 0.5
    skin: Color = SKIN_TONES[2]
    blush: float = 0.3
    age: float = 0.2
    freckles: int = 0
    moles: tuple[tuple[float, float], ...] = ()
    eye_spacing: float = 35.24
    eye_width: float = 7.4
    eye_height: float = 3.3
    eye_tilt: float = 0.0
    eye_color: Color = EYE_COLORS[1]
    eyelid_crease: float = 0.6
    brow_height: float = 10.0
    brow_thickness: float = 2.2
    brow_arch: float = 1.5
    brow_tilt: float = 0.0
    nose_y: float = 71.74
    nose_width: float = 7.0
    nose_bridge: float = 0.5
    mouth_y: float = 92.28
    mouth_width: float = 29.18
    upper_lip: float = 3.0
    lower_lip: float = 4.2
    lip_color: float = 0.5
    ear_size: float = 10.0
    ear_spread: float = 2.0
    hair_style: HairStyle = "short"
    hair_color: Color = HAIR_COLORS[2]
    hair_volume: float = 5.0
    hairline_y: float = 14.0
    parting: float = 0.3
    beard: Beard = "none"
    glasses: bool = False
    glasses_round: float = 0.5
    glasses_color: Color = (40, 36, 36)


def random_identity(generator: np.random.Generator) -> Identity:
    """Draw a face. The same generator state gives the same face."""
    uniform = generator.uniform
    dark = float(generator.beta(1.0, 1.6))
    hair_color = _hair_color(generator, dark)
    beard = str(generator.choice(BEARDS, p=[0.72, 0.11, 0.05, 0.06, 0.06]))
    masculine = beard != "none" or uniform() < 0.34
    return Identity(
        seed=int(generator.integers(2**31)),
        face_width=_normal(generator, 40.0, 2.0, 35.5, 45.0),
        jaw=_normal(generator, 0.88 if masculine else 0.82, 0.05, 0.70, 0.97),
        chin_width=_normal(generator, 15.0 if masculine else 12.0, 2.2, 8.0, 20.0),
        chin_y=_normal(generator, 114.0, 2.4, 108.5, 119.0),
        cheeks=uniform(),
        skin=_jitter(generator, _between(SKIN_TONES, dark * (len(SKIN_TONES) - 1)), 6.0),
        blush=uniform(0.0, 0.7),
        age=float(generator.beta(1.2, 2.2)),
        freckles=int(generator.integers(20, 70)) if dark < 0.45 and uniform() < 0.15 else 0,
        moles=_moles(generator),
        eye_spacing=_normal(generator, 35.24, 1.3, 32.0, 38.5),
        eye_width=_normal(generator, 7.4, 0.6, 5.9, 9.0),
        eye_height=_normal(generator, 3.3, 0.5, 2.0, 4.6),
        eye_tilt=_normal(generator, 0.0, 0.7, -1.6, 1.6),
        eye_color=_eye_color(generator, dark),
        eyelid_crease=uniform(0.1, 1.0),
        brow_height=_normal(generator, 10.2, 1.1, 7.8, 13.0),
        brow_thickness=_normal(generator, 2.5 if masculine else 1.8, 0.5, 0.9, 3.8),
        brow_arch=_normal(generator, 1.4, 0.9, -0.6, 3.4),
        brow_tilt=_normal(generator, 0.0, 0.8, -2.0, 2.0),
        nose_y=_normal(generator, 71.74, 1.6, 67.8, 75.5),
        nose_width=_normal(generator, 6.6 + 1.6 * dark, 0.9, 4.6, 10.5),
        nose_bridge=uniform(),
        mouth_y=_normal(generator, 92.28, 1.4, 88.8, 95.5),
        mouth_width=_normal(generator, 29.2, 2.2, 23.5, 34.5),
        upper_lip=_normal(generator, 2.5 + 1.2 * dark, 0.7, 1.1, 5.0),
        lower_lip=_normal(generator, 3.8 + 1.4 * dark, 0.8, 2.0, 6.6),
        lip_color=uniform(0.1, 0.75) if masculine else uniform(0.25, 1.0),
        ear_size=_normal(generator, 10.0, 1.2, 7.5, 13.0),
        ear_spread=_normal(generator, 2.0, 1.2, 0.0, 5.0),
        hair_style=_hair_style(generator, masculine),
        hair_color=hair_color,
        hair_volume=uniform(2.5, 8.0),
        hairline_y=_normal(generator, 14.0, 2.8, 7.0, 21.0),
        parting=float(generator.choice([-1, 1]) * uniform(0.05, 0.6)),
        beard=_as_beard(beard),
        glasses=bool(uniform() < 0.16),
        glasses_round=uniform(),
        glasses_color=_jitter(generator, HAIR_COLORS[int(generator.integers(0, 4))], 12.0),
    )


def _normal(generator: np.random.Generator, mean: float, deviation: float, low: float, high: float) -> float:
    return float(np.clip(generator.normal(mean, deviation), low, high))


def _between(colors: tuple[Color, ...], position: float) -> Color:
    lower = min(int(position), len(colors) - 2)
    part = position - lower
    first, second = colors[lower], colors[lower + 1]
    return tuple(float(a + part * (b - a)) for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def _jitter(generator: np.random.Generator, color: Color, deviation: float) -> Color:
    """Mostly lighter or darker, a little towards another hue."""
    change = generator.normal(0.0, deviation) + generator.normal(0.0, 0.25 * deviation, 3)
    moved = np.clip(np.asarray(color) + change, 12, 248)
    return (float(moved[0]), float(moved[1]), float(moved[2]))


def _hair_color(generator: np.random.Generator, dark: float) -> Color:
    fair = generator.uniform() > 0.25 + dark
    index = int(generator.integers(2, 7)) if fair else int(generator.integers(0, 3))
    if generator.uniform() < 0.1:
        index = 7
    return _jitter(generator, HAIR_COLORS[index], 8.0)


def _eye_color(generator: np.random.Generator, dark: float) -> Color:
    light = generator.uniform() > 0.35 + dark
    return _jitter(generator, EYE_COLORS[int(generator.integers(2, 6) if light else generator.integers(0, 3))], 7.0)


def _hair_style(generator: np.random.Generator, masculine: bool) -> HairStyle:
    common = (0.08, 0.14, 0.26, 0.18, 0.10, 0.02, 0.02, 0.10, 0.10)
    long = (0.01, 0.02, 0.10, 0.16, 0.14, 0.26, 0.16, 0.14, 0.01)
    chances = np.asarray(common if masculine else long)
    return HAIR_STYLES[int(generator.choice(len(HAIR_STYLES), p=chances / chances.sum()))]


def _as_beard(name: str) -> Beard:
    return BEARDS[[str(beard) for beard in BEARDS].index(name)]


def _moles(generator: np.random.Generator) -> tuple[tuple[float, float], ...]:
    count = int(generator.choice(4, p=[0.62, 0.22, 0.11, 0.05]))
    return tuple((float(generator.uniform(26, 86)), float(generator.uniform(60, 104))) for _ in range(count))
