"""The toolchain: float teachers, lowering, quantizers, losses, distillation and evaluation.

These are the functions a user calls; each is imported when it is first used, as most of them need torch, and the rooms
that do without it (`efq.toolchain.data`, `efq.toolchain.evaluation`) are to be opened without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from efq.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
    from efq.toolchain.data import FaceSet, open_faces
    from efq.toolchain.distillation import Licences, calibrate_teacher, distill
    from efq.toolchain.evaluation import embed_faces, evaluate, open_evaluation_faces
    from efq.toolchain.networks import EmbeddingNetwork, open_network
    from efq.toolchain.recipes.recipe import Recipe, load_recipe
    from efq.toolchain.student import Student, load_student, save_student
    from efq.toolchain.teachers import Teacher, open_teacher

__all__ = [
    "EmbeddingNetwork",
    "FaceSet",
    "Licences",
    "Recipe",
    "Student",
    "Teacher",
    "calibrate_teacher",
    "distill",
    "embed_faces",
    "evaluate",
    "load_recipe",
    "load_student",
    "open_evaluation_faces",
    "open_faces",
    "open_network",
    "open_teacher",
    "save_student",
]

_ROOMS = {
    "data": ("FaceSet", "open_faces"),
    "distillation": ("Licences", "calibrate_teacher", "distill"),
    "evaluation": ("embed_faces", "evaluate", "open_evaluation_faces"),
    "networks": ("EmbeddingNetwork", "open_network"),
    "recipes.recipe": ("Recipe", "load_recipe"),
    "student": ("Student", "load_student", "save_student"),
    "teachers": ("Teacher", "open_teacher"),
}

__getattr__, __dir__ = lazy_names(__name__, {name: room for room, names in _ROOMS.items() for name in names})
