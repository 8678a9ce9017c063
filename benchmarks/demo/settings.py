"""How much the demo does: as a whole it stays under five minutes on two cores."""

from __future__ import annotations

import dataclasses

from efq.benchmarks.demo.teacher import TeacherSettings
from efq.benchmarks.drawn_faces.dataset import DatasetSize
from efq.toolchain.recipes.recipe import Recipe, load_recipe


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DemoSettings:
    """Sizes of every step.

    drawn_recipe, real_recipe: of distillation on drawn and on real faces. rounds, seconds: of each latency setting.
    resamples: of the bootstrap intervals.
    """

    dataset: DatasetSize
    teacher: TeacherSettings
    drawn_recipe: Recipe
    real_recipe: Recipe
    rounds: int
    seconds: float
    resamples: int


# A teacher as small as the demo's is nearly reached with ReLU in a minute; MobileFaceNet on real faces takes longer,
# so there PReLU is kept exact.
DEFAULT = DemoSettings(
    dataset=DatasetSize(),
    teacher=TeacherSettings(),
    drawn_recipe=dataclasses.replace(
        load_recipe("mixed"), name="demo", steps=200, learning_rate=4e-3, fitting_images=128
    ),
    real_recipe=dataclasses.replace(load_recipe("prelu"), name="demo", steps=40, calibration_images=128),
    rounds=150,
    seconds=8.0,
    resamples=100,
)

_QUICK_RECIPE = dataclasses.replace(
    load_recipe("prelu"),
    name="demo-quick",
    steps=4,
    identities_per_batch=8,
    calibration_images=32,
    fitting_images=32,
)
QUICK = DemoSettings(
    dataset=DatasetSize(train_identities=24, dev_identities=20, views=4, pairs_per_fold=12),
    teacher=TeacherSettings(steps=10, identities_per_batch=8),
    drawn_recipe=_QUICK_RECIPE,
    real_recipe=_QUICK_RECIPE,
    rounds=10,
    seconds=1.0,
    resamples=20,
)
