"""Every pattern: which rules find it at which nodes, and what they advise; what is fine is left alone."""

from __future__ import annotations

import collections

import pytest
from messages import names
from tensorrt_patterns import PATTERNS, Pattern

from efq.export.targets.tensorrt.lint import Finding, Severity, lint
from efq.export.targets.tensorrt.lint.graph import Graph
from efq.export.targets.tensorrt.lint.run import RULES
from efq.export.targets.tensorrt.lint.shapes import external_data

BY_NAME = {pattern.name: pattern for pattern in PATTERNS}


def findings_of(pattern: Pattern) -> tuple[Finding, ...]:
    return lint(pattern.build(), compute_capabilities=pattern.capabilities)


@pytest.mark.parametrize("name", BY_NAME)
def test_pattern(name: str) -> None:
    pattern = BY_NAME[name]
    found = findings_of(pattern)
    assert [f"{finding.rule} {finding.node}" for finding in found] == list(pattern.finds)
    if pattern.finds:
        assert found[0].severity == pattern.severity
        if pattern.remedy:
            names(found[0].remedy, pattern.remedy)
    for finding in found:
        assert finding.expected
        assert finding.found
        assert finding.remedy
        line = str(finding)
        assert "\n" not in line
        assert all(part in line for part in (finding.severity, finding.rule, finding.node))
        assert all(part in line for part in (finding.expected, finding.found, finding.remedy))


def test_names_are_different() -> None:
    assert len(BY_NAME) == len(PATTERNS)


def test_every_rule_has_a_pattern_and_a_name_of_its_own() -> None:
    found: dict[str, set[str]] = collections.defaultdict(set)
    for pattern in PATTERNS:
        graph = Graph(pattern.build())
        for rule in (*RULES, external_data):
            found[rule.__name__] |= {finding.rule for finding in rule(graph)}
    assert {rule.__name__ for rule in RULES} <= found.keys()
    assert all(len(rules) == 1 for rules in found.values()), found
    assert len(set.union(*found.values())) == len(RULES) + 1


def test_only_slow_does_not_block() -> None:
    assert {severity for severity in Severity if not severity.blocks} == {Severity.SLOW}
