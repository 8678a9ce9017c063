"""The model card of an artifact: README.md in Markdown with the front matter that Hugging Face reads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from efq.export.targets import find_target
from efq.runtime.artifact.manifest import REQUANTIZED, Manifest
from efq.runtime.artifact.parity import ParityRecord
from efq.runtime.errors import SchemaError, UsageError

_HUB_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "unknown",
    }
)  # fmt: skip
_NON_COMMERCIAL = ("non-commercial", "noncommercial", "non commercial", "-nc", "research", "academic")
_COVERAGE_KEYS = frozenset({"convolutions", "matrix_products", "multiply_adds", "float_islands", "runtime", "images"})
_COUNTS = (
    ("convolutions", "convolutions"),
    ("matrix_products", "matrix products"),
    ("multiply_adds", "multiply-adds of one image"),
)
_PERMISSIVE, _UNKNOWN, _RESTRICTED = range(3)


def model_card(manifest: Manifest, coverage: Mapping[str, Any], parity: ParityRecord | None) -> str:
    """The card of one artifact.

    coverage: CoverageReport.to_dict(), or empty when it was not measured. parity: what was measured, or None.
    Raises UsageError when the artifact's licence is wider than its teacher's (see `check_licence`), SchemaError for a
    coverage that is no such report.
    """
    check_licence(manifest)
    sections = (
        _front_matter(manifest),
        _title(manifest),
        _use(manifest),
        _input(manifest),
        _thresholds(manifest.thresholds),
        _coverage(coverage),
        _parity(parity),
        _origin(manifest),
        _limits(manifest),
    )
    return "\n".join(section for section in sections if section)


def check_licence(manifest: Manifest) -> None:
    """A student carries at least the restrictions of the teacher it was distilled from.

    Licences are told apart as free, unknown (nothing said, so nothing granted) and non-commercial, in that order.
    Raises UsageError when the artifact's licence comes before its teacher's.
    """
    teacher = _licence_name(manifest.teacher["licence"])
    if _restriction(_licence_name(manifest.licence)) < _restriction(teacher):
        message = (
            f"expected a licence at least as restrictive as that of the teacher {manifest.teacher['name']!r} "
            f"({teacher}), found {manifest.licence!r}. Give the artifact the licence of its teacher"
        )
        raise UsageError(message)


def _licence_name(licence: object) -> str:
    return str(licence).strip() if licence else "unknown"


def _restriction(licence: str) -> int:
    lowered = licence.lower()
    if any(word in lowered for word in _NON_COMMERCIAL):
        return _RESTRICTED
    return _UNKNOWN if lowered in {"", "unknown", "none", "other"} else _PERMISSIVE


def _front_matter(manifest: Manifest) -> str:
    licence = _licence_name(manifest.licence)
    on_hub = licence.lower() in _HUB_LICENCES
    bits = f"w{manifest.bits['weights']}a{manifest.bits['activations']}"
    lines = ["---", f"license: {licence.lower() if on_hub else 'other'}"]
    if not on_hub:
        lines.append(f"license_name: {json.dumps(licence)}")
    lines += [
        f"base_model: {json.dumps(str(manifest.teacher['name']))}",
        "base_model_relation: quantized",
        "library_name: onnx",
        "pipeline_tag: image-feature-extraction",
        "tags:",
        *(f"- {json.dumps(tag)}" for tag in ("face-recognition", "onnx", "quantized", bits, manifest.target)),
        "---",
        "",
    ]
    return "\n".join(lines)


def _title(manifest: Manifest) -> str:
    weights, activations = manifest.bits["weights"], manifest.bits["activations"]
    return (
        f"# {_text(manifest.name)}\n\n"
        f"A face-recognition network ({_text(manifest.backbone)}, {weights}-bit weights, {activations}-bit activations)"
        f" for the target `{manifest.target}`, made by EFQ on {_text(manifest.created)} from the float network "
        f"`{_text(manifest.teacher['name'])}`. It turns an aligned face into an embedding of "
        f"{manifest.embedding_size} numbers; the cosine of two embeddings says how alike the faces are.\n"
    )


def _use(manifest: Manifest) -> str:
    return (
        "## Use\n\n"
        "```python\n"
        "from efq.runtime import Embedder\n\n"
        'embedder = Embedder.open("path/to/this/folder")\n'
        f"embeddings = embedder.embed(images)  # uint8 {_shape(manifest)} -> float32 (N, {manifest.embedding_size})\n"
        "similarity = embeddings @ embeddings.T\n"
        "```\n"
    )


def _input(manifest: Manifest) -> str:
    contract = manifest.input
    rows = [
        ("shape", f"{_shape(manifest)}, {contract.layout}"),
        ("dtype", f"{contract.dtype}, 0 to 255: normalization is inside the model"),
        ("color order", contract.color_order),
        ("alignment", f"five landmarks to the template `{_text(contract.alignment)}` (`efq.runtime.align`)"),
        ("output", f"float32 (N, {manifest.embedding_size}), rows of unit length"),
    ]
    return "## Input and output\n\n" + _table(("", ""), rows)


def _shape(manifest: Manifest) -> str:
    return f"(N, {manifest.input.height}, {manifest.input.width}, 3)"


def _thresholds(thresholds: Mapping[str, float]) -> str:
    if not thresholds:
        return ""
    rows = [(rate, f"{threshold:.4f}") for rate, threshold in thresholds.items()]
    note = "Cosine thresholds at false accept rates measured on the training faces; set your own on your own data.\n\n"
    return "## Thresholds\n\n" + note + _table(("false accept rate", "cosine"), rows)


def _coverage(coverage: Mapping[str, Any]) -> str:
    if not coverage:
        return "## Integer coverage\n\nNot measured.\n"
    missing = sorted(_COVERAGE_KEYS - set(coverage))
    missing += [key for key, _ in _COUNTS if key in coverage and not isinstance(coverage[key], Mapping)]
    if missing:
        message = (
            f"expected a coverage report with counts of {', '.join(missing)}, found {sorted(coverage)}. Export it again"
        )
        raise SchemaError(message)
    rows = [
        (title, f"{coverage[key]['integer']:,}", f"{coverage[key]['total']:,}", _percent(coverage[key]))
        for key, title in _COUNTS
    ]
    islands = [f"`{_text(node['name'])}` ({_text(node['op_type'])})" for node in coverage["float_islands"]]
    runtime = _text(coverage["runtime"])
    evidence = f"the optimized graph and the profile of {runtime}" if coverage["images"] else runtime
    return (
        f"## Integer coverage\n\nFrom {evidence}.\n\n"
        + _table(("", "in integer kernels", "of", ""), rows)
        + f"\nFloat islands: {', '.join(islands) or 'none'}.\n"
    )


def _percent(count: Mapping[str, Any]) -> str:
    if count["integer"] == count["total"]:
        return "100 %"
    return f"{min(100 * count['integer'] / count['total'], 99.99):.2f} %"


def _parity(parity: ParityRecord | None) -> str:
    found: dict[str, Any] = {}
    if parity is not None and parity.export_check is not None:
        found["export_check"] = parity.export_check
    if parity is not None and parity.evaluation is not None:
        found |= dataclasses.asdict(parity.evaluation)
    if not found:
        return "## Parity with the teacher\n\nNot measured: run `efq-bench` on this folder.\n"
    rows = [(name, _number(value)) for name, value in _flatten(found)]
    return "## Parity with the teacher\n\n" + _table(("measure", "value"), rows) + "\nAll of it is in `parity.json`.\n"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key} / ")
        elif isinstance(value, str | int | float):
            yield f"{prefix}{key}", value


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _origin(manifest: Manifest) -> str:
    teacher, data = manifest.teacher, manifest.data
    licence, teacher_licence = _licence_name(manifest.licence), _licence_name(teacher["licence"])
    rows = [
        ("this artifact", "", licence),
        ("teacher", f"{teacher['name']}, SHA-256 {teacher['sha256']}", teacher_licence),
        ("training faces", f"{data['images']} images, {data['identities']} identities", _licence_name(data["licence"])),
    ]
    text = "## Origin and licence\n\n" + _table(("", "what", "licence"), rows) + _checks(manifest)
    text += "\nThe weights are derived from the teacher's"
    if _restriction(teacher_licence) == _RESTRICTED:
        return text + ", so its non-commercial terms hold for this artifact too.\n"
    if _restriction(teacher_licence) == _UNKNOWN:
        return text + ", whose licence is not known: ask its owner before use.\n"
    return text + ", so its terms hold for this artifact too.\n"


def _checks(manifest: Manifest) -> str:
    """What was seen of teacher and student when the student was made."""
    training = manifest.recipe.get("training")
    found = training if isinstance(training, Mapping) else {}
    lines = [
        f"- {title}: {_text(found[key])}.\n"
        for key, title in (
            ("teacher_input", "The teacher was fed"),
            ("teacher_check", "The teacher"),
            ("student_check", "The student before its export"),
        )
        if key in found
    ]
    return "\n" + "".join(lines) if lines else ""


def _limits(manifest: Manifest) -> str:
    limits = [
        "Faces have to be aligned as above; other crops give embeddings that cannot be compared.",
        "Embeddings of this model and of its teacher or of other models do not belong in one gallery "
        "unless the parity above was found sufficient.",
        "Error rates by age, gender or skin tone were not measured, nor was resistance to photos or masks of a face.",
    ]
    target = find_target(manifest.target)
    limits += [*target.card_sentences(manifest), *target.bit_sentences(manifest)]
    requantized = manifest.recipe.get(REQUANTIZED)
    if isinstance(requantized, Mapping):
        cosine = requantized.get("mean_cosine")
        said = "" if cosine is None else f": mean cosine {_number(cosine)} to the student on smooth noise images"
        limits.append(f"The student was trained with other quantizers and requantized for this target{said}.")
    return "## Limits\n\n" + "".join(f"- {limit}\n" for limit in limits)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(value: object) -> str:
    """On one line and without a table's separator, whatever a checkpoint holds."""
    return " ".join(str(value).split()).replace("|", "\\|")
