"""The toolchain: float teachers, lowering, quantizers, losses, distillation and evaluation.

These are the functions a user calls; each is imported when it is first used, as most of them need torch, and the rooms
that do without it (`efq.toolchain.data`, `efq.toolchain.evaluation`) are to be opened without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efq.toolchain.data import FaceSet, open_faces
    from efq.toolchain.distillation import Licences, calibrate_teacher, distill
    from efq.toolchain.networks import EmbeddingNetwork, open_network
    from efq.toolchain.recipes.recipe import Recipe, load_recipe
    from efq.toolchain.student import Student, load_student, save_student
    from efq.toolchain.teachers import Teacher, open_teacher
else:
    _ROOMS = {
        "data": ("FaceSet", "open_faces"),
        "distillation": ("Licences", "calibrate_teacher", "distill"),
        "networks": ("EmbeddingNetwork", "open_network"),
        "recipes.recipe": ("Recipe", "load_recipe"),
        "student": ("Student", "load_student", "save_student"),
        "teachers": ("Teacher", "open_teacher"),
    }

    def __getattr__(name: str) -> object:
        import importlib

        for room, names in _ROOMS.items():
            if name in names:
                return getattr(importlib.import_module(f"{__name__}.{room}"), name)
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "EmbeddingNetwork",
    "FaceSet",
    "Licences",
    "Recipe",
    "Student",
    "Teacher",
    "calibrate_teacher",
    "distill",
    "load_recipe",
    "load_student",
    "open_faces",
    "open_network",
    "open_teacher",
    "save_student",
]
