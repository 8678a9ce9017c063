"""How it was measured, and what it does not say."""

from __future__ import annotations

from efq.benchmarks.certificate.cost import percent_of
from efq.benchmarks.certificate.numbers import count, percent_sign, rate
from efq.benchmarks.pages.markup import Html, code, definitions, element, join, name, paragraph, section, text
from efq.runtime.certificate.certificate import Certificate


def enrolment(record: Certificate) -> Html:
    """Failure to enrol."""
    tried, failed = record.protocol.attempts, record.protocol.failures_to_enrol
    share = f" ({percent_sign(failed / tried)})" if tried else ""
    said = (
        f"Of {count(tried)} images {count(failed)} could not be decoded{share}; they count in no rate above. Both "
        "networks take the same aligned crops, so that a face that is not found costs both alike and is not counted "
        "here."
    )
    return section("enrolment", text("Failure to enrol"), paragraph(text(said)))


def method(record: Certificate) -> Html:
    """Digests, faces, intervals, machine and versions."""
    binding, protocol = record.binding, record.protocol
    rows = [
        (text("Student, model.onnx"), _digest(binding.model_sha256)),
        (text("Student, before export"), _digest(binding.student_sha256)),
        (text("Teacher's file"), _digest(binding.teacher_sha256)),
        (text("Faces"), name(protocol.faces)),
        (text("Over all faces"), _digest(protocol.faces_sha256)),
        (text("Intervals"), text(_intervals(record))),
        (text("Served by"), join([name(binding.backend), text(", target "), name(binding.target)])),
        (text("Processor"), join([name(binding.machine), text(", "), name(binding.machine_class)])),
        (
            text("Versions"),
            join([join([name(tool), text(" "), name(version)]) for tool, version in binding.tools.items()], Html(", ")),
        ),
    ]
    if record.cohorts is not None:
        rows.append((text("Cohorts"), join([name(record.cohorts.file), text(" "), _digest(record.cohorts.sha256)])))
    note = [text("The same figures, all digits of them, are in "), code("certificate.json"), text(" beside the model.")]
    return section("method", text("How it was measured"), definitions(rows), paragraph(*note))


def limits(record: Certificate) -> Html:
    """In plain words."""
    protocol = record.protocol
    lines = [
        "It holds for this model, this target and this kind of processor: the digests say which. Another model, and "
        "another backend that rounds otherwise, is another certificate.",
        "The intervals say how far other people of the same kind would move a figure. They say nothing about other "
        "cameras, light, ages or ways of cropping a face: measure on your own faces for that.",
        _lowest(record),
        "Detection, alignment, quality and liveness are not part of it.",
        "Figures of one to many are of a gallery of "
        f"{count(protocol.enrolled)} people; false positives of a larger one are more.",
    ]
    if record.cohorts is None:
        lines.append("It does not say for whom the student got worse: no cohorts were given.")
    items = element("ul", *(element("li", text(line)) for line in lines))
    return section("limits", text("What this does not say"), items)


def _lowest(record: Certificate) -> str:
    protocol = record.protocol
    pairs = f"{count(protocol.impostor_pairs)} impostor pairs of {count(protocol.identities)} people"
    carried = [drop.fmr for drop in record.drops if drop.enough_impostors]
    if not carried:
        return f"No false match rate is claimed: {pairs} do not carry one."
    return f"No false match rate below {rate(min(carried))} is claimed: {pairs} carry none."


def _digest(value: str | None) -> Html:
    return text("not recorded") if value is None else code(value)


def _intervals(record: Certificate) -> str:
    protocol = record.protocol
    return f"{percent_of(record)}, bootstrap over people, {count(protocol.resamples)} resamples, seed {protocol.seed}"
