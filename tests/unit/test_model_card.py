"""The model card as the Hugging Face Hub reads it, whatever names, licences and notes strangers chose."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from artifacts import make_manifest
from hypothesis import given
from hypothesis import strategies as st

from efq.export.artifact.front_matter import hub_id
from efq.export.artifact.markdown import plain
from efq.export.artifact.model_card import model_card
from efq.runtime import Manifest
from efq.runtime.artifact.parity import (
    AccuracyRecord,
    AgreementRecord,
    EvaluationRecord,
    FacesRecord,
    ParityRecord,
    RatesRecord,
)

HOSTILE = (
    'x"\nlicense: mit\n---\n# Free',
    "x: {a: [1, 2]} # c",
    "- !!python/object:os.system",
    "no",
    "1e-4",
    "*a &a %TAG",
    "\u202eevil\u2028new \ufeff\U0001f600\x85",
    "a\\b \\n 'c' \"d\"",
    "~",
    "[click](javascript:alert(1)) <script>x</script> ![i](https://a.example/i.png) `c` www.a.example @someone | cell",
)
EVALUATION = EvaluationRecord(
    measured="2026-01-03",
    machine="a CPU",
    faces=FacesRecord(images=1200, identities=3, genuine_pairs=18, impostor_pairs=48),
    accuracy=AccuracyRecord(
        teacher=RatesRecord(tar_at_far={"1e-4": 0.99}, thresholds={}, ten_fold={}),
        artifact=RatesRecord(tar_at_far={"1e-4": 0.98, "1e-3": 0.00001}, thresholds={}, ten_fold={"lfw": 0.9945}),
    ),
    teacher=AgreementRecord(reference="teacher", cosine_mean=0.9987654, cosine_p1=0.9, cosine_min=0.8),
)
ESCAPE = re.compile(r'\\(?:U([0-9a-f]{8})|(["\\]))')


def front(card: str) -> dict[str, Any]:
    """The front matter by the part of YAML's rules that it keeps to: read apart from the code that writes it."""
    start, end, lines = "---", "---", card.split("\n")
    assert lines[0] == start
    found, rest = _block(lines[1 : lines.index(end, 1)], "")
    assert rest == []
    assert isinstance(found, dict)
    return found


def _block(lines: list[str], indent: str) -> tuple[Any, list[str]]:
    return (_items if lines[0].startswith(f"{indent}- ") else _mapping)(lines, indent)


def _items(lines: list[str], indent: str) -> tuple[list[Any], list[str]]:
    found: list[Any] = []
    while lines and lines[0].startswith(f"{indent}- "):
        text, lines = lines[0].removeprefix(f"{indent}- "), lines[1:]
        if re.match(r"[a-z_-]+:(?: |\Z)", text):
            item, lines = _mapping([f"{indent}  {text}", *lines], f"{indent}  ")
        else:
            item = _scalar(text)
        found.append(item)
    return found, lines


def _mapping(lines: list[str], indent: str) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {}
    while lines and (match := re.fullmatch(rf"{indent}([a-z_-]+):(?: (.+))?", lines[0])):
        key, text, lines = match[1], match[2], lines[1:]
        assert key not in found
        if text:
            found[key] = _scalar(text)
        else:
            deeper = re.match(r" *", lines[0])
            assert deeper
            found[key], lines = _block(lines, deeper[0])
    return found, lines


def _scalar(text: str) -> str | float:
    if text.startswith('"'):
        assert re.fullmatch(r'"(?:[^"\\]|\\U[0-9a-f]{8}|\\["\\])*"', text)
        assert text.isprintable()
        return ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text[1:-1])
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    assert re.fullmatch(r"[a-z][a-z0-9._-]*", text)
    assert text not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    return text


def test_the_front_matter_has_what_the_hub_asks_for() -> None:
    lineage = {"dataset": "owner/faces"}
    manifest = make_manifest(name="Face 1", teacher=teacher(name="opencv/face_recognition_sface"), lineage=lineage)
    found = front(model_card(manifest, {}, ParityRecord(evaluation=EVALUATION)))
    tags = ["face-recognition", "face-verification", "onnx", "quantized", "w8a8", "ort-cpu"]
    task = {"type": "face-verification", "name": "Face verification"}
    assert found == {
        "license": "apache-2.0",
        "base_model": "opencv/face_recognition_sface",
        "base_model_relation": "quantized",
        "datasets": ["owner/faces"],
        "library_name": "onnx",
        "pipeline_tag": "image-feature-extraction",
        "tags": tags,
        "model-index": [
            {
                "name": "Face 1",
                "results": [
                    {
                        "task": task,
                        "dataset": {"type": "faces", "name": "all pairs of 1,200 images of 3 people"},
                        "metrics": [
                            {"type": "tar_at_far", "name": "TAR@FAR=1e-4", "value": 0.98, "args": {"far": "1e-4"}},
                            {"type": "tar_at_far", "name": "TAR@FAR=1e-3", "value": 0.00001, "args": {"far": "1e-3"}},
                            {"type": "cosine", "name": "mean cosine to the teacher", "value": 0.998765},
                        ],
                    },
                    {
                        "task": task,
                        "dataset": {"type": "lfw", "name": "lfw"},
                        "metrics": [{"type": "accuracy", "name": "ten-fold accuracy", "value": 0.9945}],
                    },
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("licence", "fields"),
    [
        ("Apache License 2.0", {"license": "apache-2.0"}),
        ("GPL-3.0-or-later", {"license": "gpl-3.0"}),
        ("ODbL-1.0", {"license": "odbl"}),
        ("unknown", {"license": "unknown"}),
        (
            "EUPL-1.2",
            {
                "license": "other",
                "license_name": "eupl-1.2",
                "license_link": "https://spdx.org/licenses/EUPL-1.2.html",
            },
        ),
        ("CC-BY-NC", {"license": "other", "license_name": "cc-by-nc"}),
        ("MIT OR GPL-2.0", {"license": "other", "license_name": "mit-or-gpl-2.0-only"}),
        ("InsightFace: research only", {"license": "other", "license_name": "insightface-research-only"}),
        ("許諾", {"license": "other", "license_name": "own-terms"}),
    ],
)
def test_a_licence_is_the_hubs_or_is_named(licence: str, fields: dict[str, str]) -> None:
    found = front(model_card(make_manifest(licence=licence), {}, None))
    assert {key: value for key, value in found.items() if key.startswith("license")} == fields


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("iresnet50", "iresnet50"),
        ("owner/Face_1.5", "owner/Face_1.5"),
        ("networks:teacher_network", "networks-teacher_network"),
        ("../../etc/passwd", "etc-passwd"),
        ("a//b", "a-b"),
        ("模型", ""),
        ("x.git.git", "x"),
        ("a" * 200, "a" * 96),
    ],
)
def test_a_teachers_name_becomes_one_that_the_hub_takes(name: str, made: str) -> None:
    assert hub_id(name) == made
    found = front(model_card(make_manifest(teacher=teacher(name=name)), {}, None))
    assert found.get("base_model", "") == made
    assert ("base_model_relation" in found) == bool(made)


def teacher(**changes: object) -> dict[str, object]:
    return {"name": "random", "sha256": "0" * 64, "licence": "Apache-2.0"} | changes


def chosen(text: str) -> tuple[Manifest, ParityRecord]:
    """A manifest and a parity record with `text` wherever a stranger may have put one."""
    line = "".join(letter for letter in text if letter >= " " and not "\x7f" <= letter <= "\x9f") or "x"
    manifest = make_manifest(
        name=line,
        backbone=line,
        licence=line,
        teacher=teacher(name=line, licence=line),
        data={"images": 2, "identities": 1, "sha256": "1" * 64, "licence": line},
        recipe={"name": text, "training": {"teacher_check": text}},
        lineage={"teacher_provenance": line, "dataset": line, "licence_reason": line, "stated_licence": line},
    )
    rates = RatesRecord(tar_at_far={text: 0.5}, thresholds={}, ten_fold={text: 0.5})
    evaluation = EvaluationRecord(
        measured="2026-01-03",
        machine=line,
        faces=EVALUATION.faces,
        accuracy=AccuracyRecord(teacher=rates, artifact=rates),
        teacher=EVALUATION.teacher,
    )
    return manifest, ParityRecord(export_check={text: text}, evaluation=evaluation)


TEXTS = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(TEXTS)
def test_no_text_of_a_stranger_gets_out_of_its_place(text: str) -> None:
    manifest, parity = chosen(text)
    found = front(model_card(manifest, {}, parity))
    (index,) = found["model-index"]
    assert index["name"] == manifest.name
    assert index["results"][0]["metrics"][0]["args"] == {"far": text}
    assert index["results"][1]["dataset"]["name"] == text
    calm, calm_parity = chosen("calm")
    body = model_card(manifest, {}, parity).split("\n---\n", maxsplit=1)[1]
    calm_body = model_card(calm, {}, calm_parity).split("\n---\n", maxsplit=1)[1]
    assert shape(body) == shape(calm_body)
    assert all(letter.isprintable() or letter == "\n" for letter in body)


def shape(body: str) -> list[tuple[str, int]]:
    """Of each line how it begins and, of a row, how many cells it has: what a text must not change."""
    decided = ("The weights", "- The licence of this", "They allow", "It was made", "The licence of the faces")
    lines = [line for line in body.split("\n") if line and not line.startswith(decided)]
    cells = [len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in lines]
    return [(re.sub(r"\w.*|(?<=[#`|]).*", "", line), count) for line, count in zip(lines, cells, strict=True)]


def test_markup_is_shown_and_not_taken() -> None:
    shown = plain(HOSTILE[-1])
    assert re.search(r"(?<!\\)[\[\]<>`|@]", shown) is None
    assert "www.a" not in shown
    assert "https://" not in shown
    assert plain("teacher_network of 2 * 3") == "teacher_network of 2 \\* 3"


@pytest.mark.parametrize("text", HOSTILE)
def test_the_hub_reads_it(text: str, tmp_path: Path) -> None:
    """By the Hub's own package, where it is installed."""
    repocard = pytest.importorskip("huggingface_hub.repocard", reason="huggingface_hub is not installed")
    hub = importlib.import_module("huggingface_hub")
    manifest, parity = chosen(text)
    card = tmp_path / "README.md"
    card.write_text(model_card(manifest, {}, parity), encoding="utf-8")
    metadata = hub.metadata_load(card)
    assert metadata == front(card.read_text(encoding="utf-8"))
    data: Mapping[str, Any] = hub.ModelCard.load(card).data.to_dict()
    assert data["license"] == metadata["license"]
    _, results = repocard.model_index_to_eval_results(metadata["model-index"])
    assert [result.metric_type for result in results] == ["tar_at_far", "cosine", "accuracy"]
    if "base_model" in metadata:
        hub.utils.validate_repo_id(metadata["base_model"])
