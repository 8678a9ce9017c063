"""The part of a model card on where the weights come from and what may be done with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from efq.export.artifact.markdown import plain, table
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.lineage.licence import Demand, Licence
from efq.runtime.lineage.lineage import inherited_licence

_CHECKS = (
    ("teacher_input", "The teacher was fed"),
    ("teacher_check", "The teacher"),
    ("student_check", "The student before its export"),
)


def origin_section(manifest: Manifest) -> str:
    """A table of artifact, student, teacher, faces and code with their licences, and what follows from them."""
    teacher, data, origin = manifest.teacher, manifest.data, manifest.origin
    source = f" ({origin.teacher_licence_source})" if origin.teacher_licence_source else ""
    dataset = f"{origin.dataset}: " if origin.dataset else ""
    rows = [("this artifact", manifest.name, manifest.licence)]
    if origin.student_sha256 or origin.student_efq:
        made = f"recipe {manifest.recipe.get('name', 'unnamed')}"
        made += f", EFQ {origin.student_efq}" if origin.student_efq else ""
        made += f", SHA-256 {origin.student_sha256}" if origin.student_sha256 else ""
        rows.append(("student", made, ""))
    rows += [
        ("teacher", f"{teacher['name']}, SHA-256 {teacher['sha256']}", f"{_licence(teacher['licence'])}{source}"),
        (
            "training faces",
            f"{dataset}{data['images']} images, {data['identities']} identities",
            _licence(data["licence"]),
        ),
    ]
    if origin.code_licence:
        rows.append(("code", f"EFQ {manifest.tools.get('efq', '')}".strip(), origin.code_licence))
    cells = table(("", "what", "licence"), [tuple(map(plain, row)) for row in rows])
    remarks = "".join(f"- {remark}\n" for remark in (*_checks(manifest), *_remarks(manifest)))
    return f"## Origin and licence\n\n{cells}\n{remarks}\n{_consequence(manifest)}"


def _licence(licence: object) -> str:
    return Licence.parse(str(licence or "")).text


def _checks(manifest: Manifest) -> Iterator[str]:
    """What was seen of teacher and student when the student was made."""
    training = manifest.recipe.get("training")
    found = training if isinstance(training, Mapping) else {}
    yield from (f"{title}: {plain(found[key])}." for key, title in _CHECKS if key in found)


def _remarks(manifest: Manifest) -> Iterator[str]:
    origin = manifest.origin
    if origin.teacher_provenance:
        yield f"Of the teacher's weights: {plain(origin.teacher_provenance)}."
    if origin.teacher_known_licence:
        yield f"The teacher's licence is as the user stated it; known of it was: {plain(origin.teacher_known_licence)}."
    inherited = inherited_licence(_licence(manifest.teacher["licence"]), _licence(manifest.data["licence"]))
    if origin.stated_licence and origin.stated_licence != inherited:
        yield f"The licence of this artifact was stated by the user; its origin asks for: {plain(inherited)}."
    if origin.licence_reason:
        yield f"Reason given: {plain(origin.licence_reason)}."


def _consequence(manifest: Manifest) -> str:
    teacher, data = (Licence.parse(_licence(record["licence"])) for record in (manifest.teacher, manifest.data))
    derived = "The weights are derived from the teacher's"
    if not teacher.is_known:
        text = f"{derived}, whose licence is not known: ask its owner before use.\n"
    elif Licence.parse(manifest.licence).keeps(teacher):
        terms = "non-commercial terms hold" if teacher.is_restricted else "terms hold"
        text = f"{derived}, so its {terms} for this artifact too.\n"
    else:
        reason = manifest.origin.licence_reason
        judged = "whether the reason above holds is for you to judge" if reason else "ask its owner before use"
        text = f"{derived}, whose terms ({plain(teacher)}) this artifact's licence does not keep: {judged}.\n"
    if Demand.NO_DERIVATIVES in teacher.demands:
        text += "They allow no derived works: do not pass it on.\n"
    if data.is_restricted and not teacher.is_restricted:
        text += "It was made with faces whose terms are non-commercial, and these hold as well.\n"
    if not data.is_known and manifest.data["images"]:
        text += "The licence of the faces was not stated.\n"
    return text
