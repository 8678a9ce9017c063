"""The head of the page: what is certified, whether it passed, and the answers in a sentence each."""

from __future__ import annotations

from efq.benchmarks.certificate.numbers import cosine, count, interval, percent, percent_sign, points, rate
from efq.benchmarks.pages.markup import Html, code, definitions, element, headings, join, name, paragraph, table, text
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.certificate.rates import Estimate

_SHORT = 12  # of a digest's 64 digits; the whole stands under "How it was measured"


def verdict(record: Certificate) -> Html:
    """Title, outcome of the gates, what was measured on what, and a line for each question of a deployer."""
    binding = record.binding
    lead = paragraph(
        text("What it costs to match faces with "),
        name(binding.artifact),
        text(" in the place of "),
        name(binding.teacher),
        text(f": measured on {record.measured}."),
        class_="lead",
    )
    heading = element("h1", text("Certificate of "), name(binding.artifact))
    return element("header", heading, lead, _outcome(record), _subject(record), _gates(record), *_answers(record))


def _outcome(record: Certificate) -> Html:
    gates = record.gates
    failed = [gate for gate in gates if not gate.passed]
    if not gates:
        asked = join([code("--max-drop"), text(", "), code("--max-flips"), text(" or "), code("--max-cohort-gap")])
        note = [text("These are figures without a verdict: ask for one with "), asked, text(".")]
        return element(
            "div", element("strong", text("No gates were asked for.")), paragraph(*note), class_="outcome open"
        )
    word, number = ("Failed", len(failed)) if failed else ("Passed", len(gates))
    said = f"{word}: {number} of {len(gates)} gate{'s' if len(gates) > 1 else ''}."
    return element("div", element("strong", text(said)), class_=f"outcome {word.lower()}")


def _subject(record: Certificate) -> Html:
    binding, protocol = record.binding, record.protocol
    return definitions(
        [
            (text("Student"), join([name(binding.artifact), text(", model "), code(binding.model_sha256[:_SHORT])])),
            (text("Teacher"), join([name(binding.teacher), text(", file "), code(binding.teacher_sha256[:_SHORT])])),
            (text("Faces"), name(protocol.faces)),
            (text("Served by"), join([name(binding.backend), text(", target "), name(binding.target)])),
            (text("Processor"), join([name(binding.machine), text(", "), name(binding.machine_class)])),
        ]
    )


def _gates(record: Certificate) -> Html:
    if not record.gates:
        return Html("")
    rows = [
        (
            code(gate.name),
            text(_with_unit(gate.limit, gate.unit)),
            text(_with_unit(gate.found, gate.unit)),
            element("span", text("passed" if gate.passed else "failed"), class_="passed" if gate.passed else "failed"),
        )
        for gate in record.gates
    ]
    header = headings("Gate", "At most", "Found", "Outcome")
    return table("gates", text("Gates: the most that was allowed to be lost, and what was."), header, rows)


def _with_unit(value: float, unit: str) -> str:
    return percent_sign(value) if unit == "share" else f"{value:.2f} {unit}"


def _answers(record: Certificate) -> list[Html]:
    lines = [_cost(record), _threshold(record), _gallery(record), _cohorts(record)]
    heading = element("h2", text("In short"))
    return [heading, element("ul", *(element("li", line) for line in lines), class_="answers")]


def _certified(record: Certificate) -> int:
    """The place of the certified FMR, or of the nearest to it, among the FMR that were measured."""
    distances = [abs(one.fmr - record.protocol.certified_fmr) for one in record.drops]
    return distances.index(min(distances))


def _cost(record: Certificate) -> Html:
    place = _certified(record)
    teacher, student = record.teacher.points[place].fnmr.value, record.student.points[place].fnmr.value
    fmr, drop = record.drops[place].fmr, record.drops[place].drop
    said = (
        f"of every 100 genuine pairs the teacher refuses {percent(teacher)}, the student {percent(student)}: "
        f"{_more(drop)}."
    )
    return _answer("cost", f"At a false match rate of {rate(fmr)}", said)


def _more(drop: Estimate) -> str:
    between = interval(drop, points)
    if drop.low is not None and drop.high is not None and drop.low <= 0 <= drop.high:
        return f"a difference of {points(drop.value)} points ({between}) that these faces do not tell from none"
    return f"{points(drop.value)} points" + (f" ({between})" if between else "")


def _threshold(record: Certificate) -> Html:
    deployed = record.deployed
    moved = f"a threshold of {cosine(deployed.threshold)} becomes {cosine(deployed.remapped.threshold)}; with it "
    share = f"{percent_sign(deployed.flips_remapped.genuine.value)} of genuine pairs get another verdict."
    return _answer("threshold", "Threshold", moved + share)


def _gallery(record: Certificate) -> Html:
    drop = record.arrangement("teacher", "student").drops[_certified(record)]
    said = f"student probes against a gallery enrolled with the teacher, at that rate: {_more(drop)}."
    return _answer("galleries", "Enrolled gallery", said)


def _cohorts(record: Certificate) -> Html:
    if record.cohorts is None:
        return _answer("cohorts", "For whom it got worse", "not measured, as no cohorts were given.")
    rises = [
        (rates.fnmr_rise, cohort.name)
        for cohort in record.cohorts.cohorts
        for rates in cohort.rates
        if (rates.gallery, rates.probes) == ("student", "student") and rates.fnmr_rise is not None
    ]
    if not rises:
        return _answer("cohorts", "For whom it got worse", "no cohort has genuine pairs.")
    rise, worst = max(rises, key=lambda found: found[0].value)
    start = text(f": of {count(len(rises))} cohorts the FNMR rises most for ")
    return join(
        [element("a", text("For whom it got worse"), href="#cohorts"), start, name(worst), text(f": {_more(rise)}.")]
    )


def _answer(key: str, title: str, said: str) -> Html:
    return join([element("a", text(title), href=f"#{key}"), text(f": {said}")])
