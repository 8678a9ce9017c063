"""What a user says a teacher was trained on: the text of `--teacher-input`."""

from __future__ import annotations

import dataclasses
import re
from typing import Self

from efq.runtime.artifact.contract import LARGEST_SIDE
from efq.runtime.errors import UsageError
from efq.runtime.faces.normalization import NORMALIZATIONS, Normalization, Numbers, mean_and_std
from efq.runtime.faces.templates import CUSTOM, TEMPLATES
from efq.toolchain.teachers.teacher_input import COLOR_ORDERS, ColorOrder, TeacherInput

EXPECTED = (
    f"{', '.join(COLOR_ORDERS[:-1])} or {COLOR_ORDERS[-1]}, a normalization ({', '.join(NORMALIZATIONS)}, or MEAN/STD "
    f"in pixels), a size HEIGHTxWIDTH (160x160), a landmark template ({', '.join(TEMPLATES)}, {CUSTOM}), or several "
    "with commas between them: bgr,0..1"
)

_SIZE = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})", re.ASCII)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeclaredInput:
    """The parts of a teacher's input that were said, None for those that were not; `text` is how.

    normalization: by name, or mean and std, one number or three each, in the order in which the network reads its
    channels. size: height and width.
    """

    text: str
    color_order: ColorOrder | None = None
    normalization: Normalization | Numbers | None = None
    size: tuple[int, int] | None = None
    alignment: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `rgb`, `bgr` or `gray`, a normalization, a size and a template, or some of them with commas.

        A normalization is one of `NORMALIZATIONS` by name or MEAN/STD: one number each, or three with colons between
        them in the order the network reads its channels. A size is HEIGHTxWIDTH. Raises UsageError for other text.
        """
        found: dict[str, object] = {}
        for part in text.split(","):
            field, value = _part(part.strip().lower(), text)
            if field in found:
                raise _unknown(text)
            found[field] = value
        declared = cls(text=text, **found)  # type: ignore[arg-type]
        if declared.size is not None and declared.alignment is not None:
            _check_template(declared.alignment, declared.size)
        return declared

    def completed(self, default: TeacherInput) -> TeacherInput:
        """With `default` for what was not said; the template is the usual one of a size that was.

        Raises UsageError for parts that do not go together.
        """
        color = self.color_order or default.color_order
        normalization = self.normalization or default.normalization
        if not isinstance(normalization, Normalization):
            mean, std = (values[::-1] if color == "bgr" else values for values in normalization)
            normalization = Normalization(mean=mean, std=std)
        if color == "gray" and len(set(zip(normalization.mean, normalization.std, strict=True))) > 1:
            message = (
                f"expected one mean and one std for a gray network, found {normalization}: say it with --teacher-input"
            )
            raise UsageError(message)
        size, alignment = self.size or default.size, self.alignment
        if alignment is None:
            alignment = default.alignment if size == default.size else ""
        else:
            _check_template(alignment, size)
        return TeacherInput(color_order=color, normalization=normalization, size=size, alignment=alignment)


def _part(part: str, text: str) -> tuple[str, object]:
    if part in COLOR_ORDERS:
        return "color_order", part
    if part in TEMPLATES or part == CUSTOM:
        return "alignment", part
    size = _SIZE.fullmatch(part)
    if size is not None:
        height, width = int(size[1]), int(size[2])
        if max(height, width) > LARGEST_SIDE:
            raise _unknown(text)
        return "size", (height, width)
    normalization = NORMALIZATIONS.get(part) or mean_and_std(part)
    if normalization is None:
        raise _unknown(text)
    return "normalization", normalization


def _check_template(name: str, size: tuple[int, int]) -> None:
    """Raises UsageError for a template that crops of that size do not have."""
    if name == CUSTOM or TEMPLATES[name].fits(*size):
        return
    template = TEMPLATES[name]
    expected = "a square" if not template.whole else f"{template.height}x{template.width} or a whole multiple of it"
    message = (
        f"expected {expected}, height x width, for faces aligned to {name}, found {size[0]}x{size[1]}: say {CUSTOM} "
        "for crops of another convention"
    )
    raise UsageError(message)


def _unknown(text: str) -> UsageError:
    return UsageError(f"expected as a teacher's input {EXPECTED}; found {text!r}")
