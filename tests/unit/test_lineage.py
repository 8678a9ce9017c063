"""Licences told apart, and what a student of such a teacher may be labelled with."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from messages import raises_naming

from efq.runtime.errors import UsageError
from efq.runtime.lineage.licence import Demand, Licence
from efq.runtime.lineage.lineage import Lineage, check_licence, inherited_licence
from efq.runtime.lineage.statement import stated_licence

INSIGHTFACE = "InsightFace weights: non-commercial research only"


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("http://www.apache.org/licenses/LICENSE-2.0.txt", "Apache-2.0"),
        ("The MIT License", "MIT"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("New BSD License", "BSD-3-Clause"),
        ("bsd-2-clause", "BSD-2-Clause"),
        ("BSD", "BSD"),
        ("CC0", "CC0-1.0"),
        ("CC BY-NC-SA 4.0", "CC-BY-NC-SA-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("https://creativecommons.org/licenses/by-nc-nd/4.0/deed.en", "CC-BY-NC-ND-4.0"),
        ("cc-by-nc", "CC-BY-NC"),
        ("GPL-3.0", "GPL-3.0-only"),
        ("GPLv3+", "GPL-3.0-or-later"),
        ("GNU Affero General Public License v3.0", "AGPL-3.0-only"),
        ("LGPL-2.1-or-later", "LGPL-2.1-or-later"),
        ("Mozilla Public License 2.0", "MPL-2.0"),
        ("mit OR apache-2.0", "MIT OR Apache-2.0"),
        ("(mit and x) AND gplv2", "(mit and x) AND GPL-2.0-only"),
        ("GPL-2.0 WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("NOASSERTION", "unknown"),
        ("none", "unknown"),
        ("  ", "unknown"),
        ("N/A", "unknown"),
        ("Acme  terms\n2", "Acme terms 2"),
        ("BSL 1.1", "BSL 1.1"),
        ("MIT (", "MIT ("),
        ("MIT AND", "MIT AND"),
    ],
)
def test_a_licence_is_known_by_its_spdx_identifier(text: str, identifier: str) -> None:
    assert Licence.parse(text).text == identifier
    assert Licence.parse(identifier) == Licence.parse(text)


@pytest.mark.parametrize(
    ("text", "demands"),
    [
        ("CC0-1.0", set()),
        ("MIT", {Demand.ATTRIBUTION}),
        ("AGPL-3.0", {Demand.ATTRIBUTION, Demand.SHARE_ALIKE}),
        ("CC-BY-SA-4.0", {Demand.ATTRIBUTION, Demand.SHARE_ALIKE}),
        ("CC-BY-NC-ND-4.0", {Demand.ATTRIBUTION, Demand.NON_COMMERCIAL, Demand.NO_DERIVATIVES}),
        (INSIGHTFACE, {Demand.ATTRIBUTION, Demand.NON_COMMERCIAL, Demand.RESEARCH}),
        ("academic use", {Demand.ATTRIBUTION, Demand.NON_COMMERCIAL, Demand.RESEARCH}),
        ("not for commercial use", {Demand.ATTRIBUTION, Demand.NON_COMMERCIAL}),
        ("proprietary", {Demand.ATTRIBUTION, Demand.OWN_TERMS}),
        ("synchronous terms", {Demand.ATTRIBUTION, Demand.OWN_TERMS}),
        ("MIT OR GPL-2.0", {Demand.ATTRIBUTION}),
        ("MIT AND CC-BY-NC-4.0", {Demand.ATTRIBUTION, Demand.NON_COMMERCIAL}),
        ("unknown", {Demand.UNKNOWN}),
    ],
)
def test_what_a_licence_asks(text: str, demands: set[Demand]) -> None:
    assert Licence.parse(text).demands == demands


@pytest.mark.parametrize(
    ("label", "source", "kept"),
    [
        ("MIT", "Apache-2.0", True),
        ("CC0-1.0", "Apache-2.0", False),
        ("GPL-3.0", "MIT", True),
        ("MIT", "GPL-3.0", False),
        ("GPL-3.0-or-later", "GPL-3.0", True),
        ("AGPL-3.0", "GPL-3.0", False),
        ("CC-BY-NC-SA-4.0", "CC-BY-SA-4.0", False),
        ("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", True),
        ("MIT", "CC-BY-NC-4.0", False),
        ("CC-BY-NC-4.0", INSIGHTFACE, False),
        ("research use only", INSIGHTFACE, True),
        ("acme TERMS 2", "Acme terms 2", True),
        ("MIT", "Acme terms 2", False),
        ("Acme terms 2 AND CC-BY-NC-4.0", "Acme terms 2", True),
        ("unknown", "CC-BY-NC-4.0", False),
        ("CC-BY-NC-4.0", "unknown", False),
        ("unknown", "none", True),
    ],
)
def test_a_label_keeps_what_its_source_asks(label: str, source: str, kept: bool) -> None:
    assert Licence.parse(label).keeps(Licence.parse(source)) == kept


@pytest.mark.parametrize(
    ("teacher", "data", "licence"),
    [
        ("apache-2.0", "unknown", "Apache-2.0"),
        ("apache-2.0", "CC0", "Apache-2.0"),
        ("apache-2.0", "CC BY-NC 4.0", "CC-BY-NC-4.0"),
        ("AGPL-3.0", "CC-BY-NC-4.0", "AGPL-3.0-only AND CC-BY-NC-4.0"),
        ("MIT OR GPL-2.0", "CC-BY-NC-4.0", "CC-BY-NC-4.0"),
        ("GPL-2.0 OR GPL-3.0", "CC-BY-NC-4.0", "(GPL-2.0-only OR GPL-3.0-only) AND CC-BY-NC-4.0"),
        (INSIGHTFACE, "CC-BY-NC-4.0", INSIGHTFACE),
        ("none", "CC-BY-NC-4.0", "unknown"),
        ("unknown", "MIT", "unknown"),
    ],
)
def test_a_student_inherits_what_teacher_and_faces_ask(teacher: str, data: str, licence: str) -> None:
    assert inherited_licence(teacher, data) == licence
    check_licence(licence, teacher=teacher, data="unknown" if licence == "unknown" else data, reason=None, remedy="")


def test_a_wider_licence_needs_a_reason() -> None:
    with raises_naming(UsageError, INSIGHTFACE, "MIT", "say why"):
        check_licence("mit", teacher=INSIGHTFACE, data="unknown", reason=None, remedy="say why")
    with raises_naming(UsageError, "CC-BY-NC-4.0", "faces", "Apache-2.0"):
        check_licence("Apache-2.0", teacher="MIT", data="cc-by-nc-4.0", reason=None, remedy="say why")
    check_licence("mit", teacher=INSIGHTFACE, data="unknown", reason="we own the weights", remedy="")


licence_texts = st.lists(
    st.sampled_from(["MIT", "GPL-3.0", "CC-BY-NC-4.0", "unknown", "own", "AND", "OR", "WITH", "(", ")", "x"]),
    max_size=9,
).map(" ".join)


@given(licence_texts | st.text(max_size=40), licence_texts)
@example("(" * 300 + "MIT" + ")" * 300, "MIT")
def test_any_text_is_a_licence(one: str, two: str) -> None:
    found, other = Licence.parse(one), Licence.parse(two)
    assert found == Licence.parse(found.text)
    assert found.keeps(found)
    both = found.and_also(other)
    assert both.keeps(found)
    assert both.keeps(other)


def test_a_lineage_comes_back_and_what_is_none_is_refused() -> None:
    lineage = Lineage(teacher_provenance="not stated", student_sha256="ab" * 32)
    assert Lineage.from_dict(lineage.to_dict()) == lineage
    assert lineage.to_dict() == {"teacher_provenance": "not stated", "student_sha256": "ab" * 32}
    for values in (
        [],
        {"colour": "red"},
        {"dataset": 3},
        {"dataset": "a\x1b[2J"},
        {"dataset": ""},
        {"student_sha256": "ab"},
    ):
        with pytest.raises(ValueError, match="expected"):
            Lineage.from_dict(values)


APACHE = "\n  Apache License\n  Version 2.0, January 2004\n  http://www.apache.org/licenses/\n" + "TERMS " * 200
BSD = "Copyright (c) 2020\nRedistribution and use in source and binary forms, with or without\n" + "x " * 200


@pytest.mark.parametrize(
    ("metadata", "description", "licence"),
    [
        ({}, "", None),
        ({"license": "apache-2.0"}, "", "Apache-2.0"),
        ({"Model License": "MIT License"}, "", "MIT"),
        ({"licence": "InsightFace: research only"}, "", "InsightFace: research only"),
        ({"license": "other", "license_name": "acme-1"}, "", "acme-1"),
        ({"license": APACHE}, "", "Apache-2.0"),
        ({"license": BSD}, "", "BSD-2-Clause"),
        ({"license": BSD + " Neither the name of the copyright holder"}, "", "BSD-3-Clause"),
        ({"license": "own \x1b[2J\u202e terms " * 40}, "", None),
        ({}, "A network.\nLicense: CC BY-NC 4.0\nAuthor: x", "CC-BY-NC-4.0"),
        ({}, "SPDX-License-Identifier: GPL-3.0-or-later", "GPL-3.0-or-later"),
        ({}, "Trained by x, licensed under the MIT license.", "MIT"),
        ({"license": "unknown"}, "no word of it", None),
    ],
)
def test_a_file_states_its_licence(metadata: dict[str, str], description: str, licence: str | None) -> None:
    found = stated_licence(metadata, description)
    if licence is None and found is not None:
        assert found.isprintable()
        assert len(found) == 200
        return
    assert found == licence
