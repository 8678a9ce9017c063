from __future__ import annotations

import json

import pytest
from artifacts import make_manifest
from hypothesis import given
from hypothesis import strategies as st
from messages import names, raises_naming

from efq.runtime import Manifest, SchemaError
from efq.runtime.artifact.manifest import OPTIONAL_GROUPS

VALUES = json.loads(make_manifest().to_json())
JSON_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


def parse(**changes: object) -> Manifest:
    return Manifest.from_json(json.dumps(VALUES | changes))


def test_json_round_trip_is_exact_and_canonical() -> None:
    manifest = make_manifest()
    text = manifest.to_json()
    assert Manifest.from_json(text) == manifest
    assert Manifest.from_json(json.dumps(dict(reversed(VALUES.items())))).to_json() == text
    assert list(VALUES) == sorted(VALUES)


@pytest.mark.parametrize("version", [3, 0, "1", 1.0, True, None])
def test_another_schema_version_is_refused(version: object) -> None:
    with raises_naming(SchemaError, "manifest.json", "schema_version", 1, 2, repr(version)) as caught:
        parse(schema_version=version)
    assert ("pip install --upgrade efq" in str(caught.value)) == (version == 3)


def test_a_manifest_of_version_1_is_read_and_kept() -> None:
    old = parse(schema_version=1)
    assert (old.schema_version, old.interface, old.probe, old.lineage) == (1, None, None, None)
    assert json.loads(old.to_json()) == VALUES | {"schema_version": 1}
    for group in OPTIONAL_GROUPS:
        with raises_naming(SchemaError, "manifest.json", group):
            parse(schema_version=1, **{group: {}})


def test_optional_groups_are_absent_or_objects() -> None:
    assert VALUES["schema_version"] == 2
    assert not set(OPTIONAL_GROUPS) & set(VALUES)
    for group in OPTIONAL_GROUPS:
        for value in (None, [], "a", 1):
            with raises_naming(SchemaError, "manifest.json", group, repr(value)):
                parse(**{group: value})


def test_unknown_and_missing_keys_are_named() -> None:
    with raises_naming(SchemaError, "manifest.json", "colour", *VALUES):
        parse(colour="RGB")
    with raises_naming(SchemaError, "manifest.json", *VALUES) as caught:
        Manifest.from_json(json.dumps({key: value for key, value in VALUES.items() if key != "bits"}))
    names(str(caught.value).replace(", ".join(sorted(VALUES)), ""), "bits")
    with raises_naming(SchemaError, "teacher", "licence", "name", "sha256") as caught:
        parse(teacher={"name": "a", "licence": "b"})
    names(str(caught.value).replace("licence, name, sha256", ""), "sha256")


@pytest.mark.parametrize(
    "changes",
    [
        {"bits": {"weights": 9, "activations": 8}},
        {"bits": {"weights": 8}},
        {"embedding_size": 0},
        {"embedding_size": True},
        {"l2_normalized": False},
        {"thresholds": {"1e-3": 1.5}},
        {"thresholds": {"1e-3": "0.5"}},
        {"name": 3},
        {"recipe": []},
        {"input": []},
        {"input": VALUES["input"] | {"color_order": "BGR"}},
        {"input": VALUES["input"] | {"height": "112"}},
        {"input": {}},
        {"coverage": {"elementwise": 3}},
        {"coverage": {"elementwise": [{"operations": "Add", "nodes": 1}]}},
        {"coverage": {"elementwise": [{"operations": "Add", "nodes": 1, "arithmetic": "x", "time_share": "y"}]}},
        {"coverage": {"float_time_share": float(2)}},
        {"lineage": {"colour": "red"}},
        {"lineage": {"licence_reason": "a\x1b[2J"}},
        {"lineage": []},
    ],
)
def test_values_that_do_not_fit_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SchemaError):
        parse(**changes)


@given(st.text(max_size=50) | JSON_VALUES.map(json.dumps))
def test_any_other_text_is_a_schema_error(text: str) -> None:
    with pytest.raises(SchemaError):
        Manifest.from_json(text)


@given(st.sampled_from(sorted(VALUES)), JSON_VALUES)
def test_a_changed_value_is_accepted_or_a_schema_error_but_nothing_else(key: str, value: object) -> None:
    try:
        manifest = parse(**{key: value})
    except SchemaError:
        return
    assert json.loads(manifest.to_json()) == VALUES | {key: value}
