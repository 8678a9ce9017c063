"""Licences by the identifiers of SPDX (spdx.org/licenses), whatever way a file or a person spells them."""

from __future__ import annotations

import re

UNKNOWN = "unknown"
"""What stands for a licence that nobody stated."""

PUBLIC_DOMAIN = ("CC0-1.0", "Unlicense", "0BSD", "MIT-0", "WTFPL", "PDDL-1.0", "public domain")
ATTRIBUTION = (
    "MIT", "Apache-1.1", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "BSD-4-Clause",
    "ISC", "Zlib", "BSL-1.0", "AFL-3.0", "Artistic-2.0", "BlueOak-1.0.0", "ECL-2.0", "MS-PL", "NCSA", "PostgreSQL",
    "PSF-2.0", "UPL-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "C-UDA-1.0", "ODC-By-1.0", "etalab-2.0",
)  # fmt: skip
SHARE_ALIKE = (
    "MPL-1.1", "MPL-2.0", "EPL-1.0", "EPL-2.0", "EUPL-1.1", "EUPL-1.2", "OSL-3.0", "CDDL-1.0", "CDDL-1.1", "CPL-1.0",
    "LPPL-1.3c", "MS-RL", "ODbL-1.0", "CDLA-Sharing-1.0", "OFL-1.1", "SSPL-1.0", "GPL", "LGPL", "AGPL",
)  # fmt: skip
NON_COMMERCIAL = ("PolyForm-Noncommercial-1.0.0",)

_KNOWN = {name.lower(): name for name in (*PUBLIC_DOMAIN, *ATTRIBUTION, *SHARE_ALIKE, *NON_COMMERCIAL)}
_OTHER_NAMES = {
    "apache": "Apache-2.0", "apache-2": "Apache-2.0", "apache2": "Apache-2.0", "apache2.0": "Apache-2.0",
    "apache-software-2.0": "Apache-2.0", "expat": "MIT", "new-bsd": "BSD-3-Clause", "modified-bsd": "BSD-3-Clause",
    "3-clause-bsd": "BSD-3-Clause", "bsd-3": "BSD-3-Clause", "simplified-bsd": "BSD-2-Clause",
    "2-clause-bsd": "BSD-2-Clause", "bsd-2": "BSD-2-Clause", "cc0": "CC0-1.0", "cc0-1": "CC0-1.0",
    "cc-zero": "CC0-1.0", "cc-zero-1.0": "CC0-1.0", "cc0-1.0-universal": "CC0-1.0", "boost-software-1.0": "BSL-1.0",
    "mozilla-public-2.0": "MPL-2.0", "mpl-2": "MPL-2.0", "mpl2": "MPL-2.0", "odbl": "ODbL-1.0", "pddl": "PDDL-1.0",
    "odc-by": "ODC-By-1.0", "c-uda": "C-UDA-1.0", "public-domain": "public domain",
}  # fmt: skip
_NOTHING_STATED = frozenset(
    {
        "", "unknown", "none", "other", "n-a", "na", "no", "null", "noassertion", "not-stated", "unspecified",
        "unlicensed",
    }
)  # fmt: skip
_SPELLED_OUT = (
    (r"creative-commons", "cc"), (r"attribution", "by"), (r"non-?commercial", "nc"), (r"share-?alike", "sa"),
    (r"no-?deriv(?:ative)?s", "nd"), (r"gnu-affero-general-public", "agpl"), (r"gnu-lesser-general-public", "lgpl"),
    (r"gnu-general-public", "gpl"), (r"^gnu-", ""), (r"-(?:international|unported|generic)$", ""),
)  # fmt: skip
_CC = re.compile(r"cc-?(by(?:-nc)?(?:-sa|-nd)?)(?:-([1-4])(?:\.([05]))?)?")
_GPL = re.compile(r"([al]?gpl)-?([1-3])(?:\.([01]))?(-only|\+|-or-(?:any-)?later)?")
_ADDRESS = re.compile(r"https?://(?:www\.)?([^\s/]+)/(\S+?)(?:\.html|\.txt|/legalcode|/deed\.\w+|/)*")
_LONGEST = 200


def identify(text: str) -> str:
    """The SPDX identifier of one licence, `UNKNOWN` where nothing is stated, else the text on one line.

    "Apache License, Version 2.0" and the address of its text are Apache-2.0, "GPLv3+" is GPL-3.0-or-later. A family
    without its version ("BSD", "CC-BY-NC") stays one.
    """
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        return line
    key = _key(_behind_address(line))
    if key in _NOTHING_STATED:
        return UNKNOWN
    found = _KNOWN.get(key) or _OTHER_NAMES.get(key)
    if found is not None:
        return found
    for pattern, short in _SPELLED_OUT:
        key = re.sub(pattern, short, key)
    return _KNOWN.get(key) or _creative_commons(key) or _gnu(key) or line


def is_identifier(text: str) -> bool:
    """Whether it is an identifier of the SPDX list, whose text is at https://spdx.org/licenses/<identifier>.html."""
    if is_family(text, "[AL]?GPL", "CC-BY(?:-NC)?(?:-SA|-ND)?"):
        return text[-1].isdigit() or text.endswith(("-only", "-or-later"))
    return text in _KNOWN.values() and text not in ("BSD", "public domain")


def is_family(identifier: str, *names: str) -> bool:
    """Whether it is a licence of one of the families `names`, whose version follows a hyphen: "GPL", "CC-BY-SA"."""
    return any(re.fullmatch(rf"{name}(?:-\d\.\d.*)?", identifier) for name in names)


def _key(line: str) -> str:
    """In lower case with hyphens, without the words that say that it is a licence."""
    key = re.sub(r"\b(?:the|licensed under|licen[cs]e|version|ver\.)(?![\w.])", " ", line.lower())
    key = re.sub(r"(?<![a-z])v\.?(?=\d)|(?<=gpl)v(?=\d)", "", key)
    return re.sub(r"[\s_/,:;-]+", "-", key).strip("-.\"'")


def _behind_address(line: str) -> str:
    """What licence the address of its text is that of; other text as it is."""
    match = _ADDRESS.fullmatch(line)
    if match is None:
        return line
    host, path = match[1].lower(), match[2]
    if host == "creativecommons.org":
        return path.replace("licenses/", "cc-").replace("publicdomain/zero", "cc0")
    if host == "apache.org" and path.lower().startswith("licenses/license-"):
        return f"apache-{path.rpartition('-')[2]}"
    if host in ("opensource.org", "spdx.org", "choosealicense.com", "gnu.org"):
        return path.rpartition("/")[2]
    return line


def _creative_commons(key: str) -> str | None:
    match = _CC.fullmatch(key)
    if match is None:
        return None
    version = f"-{match[2]}.{match[3] or 0}" if match[2] else ""
    return f"CC-{match[1].upper()}{version}"


def _gnu(key: str) -> str | None:
    match = _GPL.fullmatch(key)
    if match is None:
        return None
    later = "or-later" if match[4] and match[4] != "-only" else "only"
    return f"{match[1].upper()}-{match[2]}.{match[3] or 0}-{later}"
