"""The front matter of a model card: YAML that the Hugging Face Hub reads.

Its keys: https://github.com/huggingface/hub-docs/blob/main/modelcard.md; its licences:
https://huggingface.co/docs/hub/repositories-licenses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from efq.runtime.artifact.manifest import Manifest
from efq.runtime.artifact.parity import EvaluationRecord, ParityRecord
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.lineage import spdx
from efq.runtime.lineage.licence import Licence
from efq.toolchain.evaluation.figures.rates import far_name

_HUB_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
        "bsd-3-clause-clear", "c-uda", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
        "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
        "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0",
        "eupl-1.1", "agpl-3.0", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c",
        "ms-pl", "mpl-2.0", "odc-by", "odbl", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl",
        "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigcode-openrail-m", "openrail++", "gfdl",
        "unknown",
    }
)  # fmt: skip
_WITHOUT_VERSION = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl", "c-uda-1.0": "c-uda"}
_LONGEST_NAME = 96
_NAME = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*")

Yaml = Mapping[str, Any] | Sequence[Any] | str | float


def front_matter(manifest: Manifest, parity: ParityRecord | None, certificate: Certificate | None = None) -> str:
    """The lines between `---`, and these; a text that is no plain name is quoted, whatever it holds.

    Figures of all pairs are the certificate's where there is one.
    """
    weights, activations = manifest.bits["weights"], manifest.bits["activations"]
    base, dataset = hub_id(str(manifest.teacher["name"])), manifest.origin.dataset
    tags = ("face-recognition", "face-verification", "onnx", "quantized", f"w{weights}a{activations}", manifest.target)
    values: dict[str, Yaml] = licence_fields(manifest.licence)
    if base:
        values |= {"base_model": base, "base_model_relation": "quantized"}
    if dataset is not None and hub_id(dataset) == dataset:
        values["datasets"] = [dataset]
    values |= {"library_name": "onnx", "pipeline_tag": "image-feature-extraction", "tags": tags}
    results = [] if parity is None or parity.evaluation is None else _results(parity.evaluation)
    if certificate is not None:
        results = [_certified(certificate), *results[1:]]
    if results:
        values["model-index"] = [{"name": manifest.name, "results": results}]
    return "".join(f"{line}\n" for line in ("---", *_mapping(values), "---"))


def licence_fields(licence: str) -> dict[str, Yaml]:
    """`license`, and for one that is not on the Hub's list `license_name` and, where it has an address, the link."""
    found = Licence.parse(licence)
    name = re.sub(r"-(?:only|or-later)$", "", found.text).lower()
    name = _WITHOUT_VERSION.get(name, name)
    if name in _HUB_LICENCES:
        return {"license": name}
    fields: dict[str, Yaml] = {"license": "other", "license_name": _slug(found.text) or "own-terms"}
    if spdx.is_identifier(found.text):
        fields["license_link"] = f"https://spdx.org/licenses/{found.text}.html"
    return fields


def hub_id(name: str) -> str:
    """`name` as the Hub takes it for a repository's, other letters replaced by hyphens; "" where none is left.

    "name" or "owner/name" of letters, digits, `-`, `_` and `.`, 96 characters at most, without `--` and `..`.
    """
    owner, slash, rest = name.partition("/")
    parts = (owner, rest) if slash and "/" not in rest else (name,)
    cleaned = [re.sub(r"[-.]{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", part)).strip("-.") for part in parts]
    return re.sub(r"(?:\.git|[-./])+$", "", "/".join(part for part in cleaned if part)[:_LONGEST_NAME])


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:_LONGEST_NAME].strip("-.")


def _results(evaluation: EvaluationRecord) -> list[Yaml]:
    """As the Hub's model-index has them: one of all pairs of the faces, and one of each list of pairs."""
    rates, faces = evaluation.accuracy.artifact, evaluation.faces
    pairs = [
        {"type": "tar_at_far", "name": f"TAR@FAR={far}", "value": value, "args": {"far": far}}
        for far, value in rates.tar_at_far.items()
    ]
    pairs.append({"type": "cosine", "name": "mean cosine to the teacher", "value": evaluation.teacher.cosine_mean})
    people = f"all pairs of {faces.images:,} images of {faces.identities:,} people"
    if not faces.identities:  # of listed pairs alone, which say nothing of people
        people = f"{faces.images:,} images of listed pairs"
    found: list[Yaml] = [_result("faces", people, pairs)]
    for name, value in rates.ten_fold.items():
        accuracy = {"type": "accuracy", "name": "ten-fold accuracy", "value": value}
        found.append(_result(_slug(name) or "pairs", name, [accuracy]))
    return found


def _certified(certificate: Certificate) -> Yaml:
    """All pairs of the faces it was certified on."""
    protocol = certificate.protocol
    metrics: list[Yaml] = [
        {"type": "fnmr_at_fmr", "name": f"FNMR@FMR={far_name(point.fmr)}", "value": point.fnmr.value}
        for point in certificate.student.points
    ]
    metrics += [
        {"type": "tar_at_far", "name": f"TAR@FAR={far_name(point.fmr)}", "value": 1.0 - point.fnmr.value}
        for point in certificate.student.points
    ]
    metrics.append({"type": "cosine", "name": "mean cosine to the teacher", "value": certificate.cosine.mean})
    return _result("faces", f"all pairs of {protocol.images:,} images of {protocol.identities:,} people", metrics)


def _result(kind: str, name: str, metrics: Sequence[Yaml]) -> Yaml:
    return {
        "task": {"type": "face-verification", "name": "Face verification"},
        "dataset": {"type": kind, "name": name},
        "metrics": metrics,
    }


def _mapping(values: Mapping[str, Yaml]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{key}:"
            yield from (f"  {line}" for line in _mapping(value))
        elif isinstance(value, str | int | float):
            yield f"{key}: {_scalar(value)}"
        else:
            yield f"{key}:"
            yield from _items(value)


def _items(values: Sequence[Yaml]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping):
            first, *rest = _mapping(value)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        elif isinstance(value, str | int | float):
            yield f"- {_scalar(value)}"


def _scalar(value: str | float) -> str:
    """A number without an exponent, which YAML 1.1 takes for text; a text as it is where it is a name, else quoted."""
    if not isinstance(value, str):
        return f"{value:.6f}".rstrip("0").removesuffix(".") if isinstance(value, float) else str(value)
    return value if _NAME.fullmatch(value) else f'"{"".join(map(_escaped, value))}"'


def _escaped(letter: str) -> str:
    """As YAML's double quotes have it."""
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
