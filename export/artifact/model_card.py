"""The model card of an artifact: README.md in Markdown with the front matter that Hugging Face reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from efq.export.artifact.certificate_section import certificate_section
from efq.export.artifact.front_matter import front_matter
from efq.export.artifact.interface_section import interface_section
from efq.export.artifact.markdown import code, plain, table
from efq.export.artifact.origin import origin_section
from efq.export.targets import find_target
from efq.runtime.artifact.manifest import REQUANTIZED, Manifest
from efq.runtime.artifact.parity import ParityRecord
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.errors import SchemaError

_COVERAGE_KEYS = frozenset({"convolutions", "matrix_products", "multiply_adds", "float_islands", "runtime", "images"})
_COUNTS = (
    ("convolutions", "convolutions"),
    ("matrix_products", "matrix products"),
    ("multiply_adds", "multiply-adds of one image"),
)


def model_card(
    manifest: Manifest,
    coverage: Mapping[str, Any],
    parity: ParityRecord | None,
    certificate: Certificate | None = None,
) -> str:
    """The card of one artifact.

    coverage: CoverageReport.to_dict(), or empty when it was not measured. parity, certificate: what was measured, or
    None.
    Raises SchemaError for a coverage that is no such report.
    """
    sections = (
        front_matter(manifest, parity, certificate),
        _title(manifest),
        _use(manifest),
        _input(manifest),
        interface_section(manifest),
        _thresholds(manifest.thresholds),
        certificate_section(certificate, parity),
        _coverage(coverage),
        _parity(parity),
        origin_section(manifest),
        _limits(manifest, certificate),
    )
    return "\n".join(section for section in sections if section)


def _title(manifest: Manifest) -> str:
    weights, activations = manifest.bits["weights"], manifest.bits["activations"]
    return (
        f"# {plain(manifest.name)}\n\n"
        f"A face-recognition network ({plain(manifest.backbone)}, {weights}-bit weights, {activations}-bit activations)"
        f" for the target {code(manifest.target)}, made by EFQ on {plain(manifest.created)} from the float network "
        f"{code(manifest.teacher['name'])}. It turns an aligned face into an embedding of "
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
        ("shape", f"{_shape(manifest)}, {plain(contract.layout)}"),
        ("dtype", f"{plain(contract.dtype)}, 0 to 255: normalization is inside the model"),
        ("color order", plain(contract.color_order)),
        ("alignment", f"five landmarks to the template {code(contract.alignment)} (`efq.runtime.align`)"),
        ("output", f"float32 (N, {manifest.embedding_size}), rows of unit length"),
    ]
    return "## Input and output\n\n" + table(("", ""), rows)


def _shape(manifest: Manifest) -> str:
    return f"(N, {manifest.input.height}, {manifest.input.width}, 3)"


def _thresholds(thresholds: Mapping[str, float]) -> str:
    if not thresholds:
        return ""
    rows = [(plain(rate), f"{threshold:.4f}") for rate, threshold in thresholds.items()]
    note = "Cosine thresholds at false accept rates measured on the training faces; set your own on your own data.\n\n"
    return "## Thresholds\n\n" + note + table(("false accept rate", "cosine"), rows)


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
    islands = [f"{code(node['name'])} ({plain(node['op_type'])})" for node in coverage["float_islands"]]
    runtime = plain(coverage["runtime"])
    evidence = f"the optimized graph and the profile of {runtime}" if coverage["images"] else runtime
    return (
        f"## Integer coverage\n\nFrom {evidence}.\n\n"
        + table(("", "in integer kernels", "of", ""), rows)
        + f"\nFloat islands: {', '.join(islands) or 'none'}.\n"
        + _elementwise(coverage)
    )


def _elementwise(coverage: Mapping[str, Any]) -> str:
    """How activations, sums and gates are computed; nothing of an artifact that was written without saying so."""
    shares = coverage.get("elementwise")
    if not isinstance(shares, list | tuple) or not shares:
        return ""
    rows = [
        (plain(share["operations"]), str(share["nodes"]), plain(share["arithmetic"]), _share(share["time_share"]))
        for share in shares
    ]
    total = coverage.get("float_time_share")
    said = "" if total is None else f"\nIn float, conversions included: {_share(total)} of the time.\n"
    return "\n" + table(("elementwise operation", "nodes", "computed", "of the time"), rows) + said


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


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
    rows = [(plain(name), plain(_number(value))) for name, value in _flatten(found)]
    return "## Parity with the teacher\n\n" + table(("measure", "value"), rows) + "\nAll of it is in `parity.json`.\n"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key} / ")
        elif isinstance(value, str | int | float):
            yield f"{prefix}{key}", value


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _limits(manifest: Manifest, certificate: Certificate | None) -> str:
    cohorts = None if certificate is None else certificate.cohorts
    groups = "age, gender or skin tone" if cohorts is None else f"other cohorts than those of {code(cohorts.file)}"
    limits = [
        "Faces have to be aligned as above; other crops give embeddings that cannot be compared.",
        "Embeddings of this model and of its teacher or of other models do not belong in one gallery "
        "unless the certificate above was found sufficient.",
        f"Error rates by {groups} were not measured, nor was resistance to photos or masks of a face.",
    ]
    target = find_target(manifest.target)
    limits += [*target.card_sentences(manifest), *target.bit_sentences(manifest)]
    requantized = manifest.recipe.get(REQUANTIZED)
    if isinstance(requantized, Mapping):
        cosine = requantized.get("mean_cosine")
        said = "" if cosine is None else f": mean cosine {_number(cosine)} to the student on smooth noise images"
        limits.append(f"The student was trained with other quantizers and requantized for this target{said}.")
    return "## Limits\n\n" + "".join(f"- {limit}\n" for limit in limits)
