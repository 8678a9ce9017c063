"""The licence that a model's file states of itself, in its metadata or in its description."""

from __future__ import annotations

import re
from collections.abc import Mapping

from efq.runtime.lineage import spdx

_KEYS = ("model_license", "license", "licence", "spdx_license_identifier", "license_name", "licence_name", "license_id")
_IN_TEXT = re.compile(
    r"(?:spdx-license-identifier|licen[cs]e)\s*[:=]\s*(?P<named>[^\n;]+)"
    r"|licen[cs]ed under (?:the )?(?P<under>[^\n;]+?)(?:\.\s|\.?$|[\n;])",
    re.IGNORECASE,
)
_FULL_TEXTS = (
    (r"apache license\W+version 2\.0", "Apache-2.0"),
    (r"gnu affero general public license\W+version 3", "AGPL-3.0"),
    (r"gnu lesser general public license\W+version 3", "LGPL-3.0"),
    (r"gnu lesser general public license\W+version 2\.1", "LGPL-2.1"),
    (r"gnu general public license\W+version 3", "GPL-3.0"),
    (r"gnu general public license\W+version 2", "GPL-2.0"),
    (r"mozilla public license\W+version 2\.0", "MPL-2.0"),
    (r"attribution-noncommercial-sharealike 4\.0", "CC-BY-NC-SA-4.0"),
    (r"attribution-noncommercial-noderivatives 4\.0", "CC-BY-NC-ND-4.0"),
    (r"attribution-noncommercial 4\.0", "CC-BY-NC-4.0"),
    (r"attribution-sharealike 4\.0", "CC-BY-SA-4.0"),
    (r"attribution 4\.0 international", "CC-BY-4.0"),
    (r"permission is hereby granted, free of charge", "MIT"),
    (r"redistribution and use in source and binary forms(?=.*neither the name)", "BSD-3-Clause"),
    (r"redistribution and use in source and binary forms", "BSD-2-Clause"),
)
"""What the text of a licence has near its beginning."""

_LONGEST = 200
_NEAR = 3_000


def stated_licence(metadata: Mapping[str, str], description: str = "") -> str | None:
    """The licence by a key such as `license` or `model_license`, or behind such a word in the description.

    A line: an SPDX identifier where one is meant or the whole text of such a licence is there. None where nothing is
    stated.
    """
    by_key = {re.sub(r"[-. ]", "_", str(key).lower()): str(value) for key, value in metadata.items()}
    for key in _KEYS:
        found = _as_line(by_key.get(key, ""))
        if found != spdx.UNKNOWN:
            return found
    for match in _IN_TEXT.finditer(description[:_NEAR]):
        found = _as_line(match["named"] or match["under"])
        if found != spdx.UNKNOWN:
            return found
    return None


def _as_line(text: str) -> str:
    line = "".join(letter for letter in " ".join(text[: 10 * _NEAR].split()) if letter.isprintable())
    if len(line) <= _LONGEST:
        return spdx.identify(line.rstrip("."))
    for pattern, identifier in _FULL_TEXTS:
        if re.search(pattern, line[:_NEAR], re.IGNORECASE):
            return spdx.identify(identifier)
    return f"{line[: _LONGEST - 3]}..."
