"""A certificate as one HTML file that a deployer reads from the top: the verdict first, how it was measured last."""

from __future__ import annotations

from importlib import resources

from efq.benchmarks.certificate.calibration import calibration
from efq.benchmarks.certificate.cohorts import cohorts
from efq.benchmarks.certificate.cost import cost
from efq.benchmarks.certificate.curves import curves
from efq.benchmarks.certificate.galleries import galleries
from efq.benchmarks.certificate.method import enrolment, limits, method
from efq.benchmarks.certificate.thresholds import thresholds
from efq.benchmarks.certificate.verdict import verdict
from efq.benchmarks.pages.document import document
from efq.benchmarks.pages.markup import element, text
from efq.runtime.certificate.certificate import Certificate

_SECTIONS = (
    ("cost", "What it costs", cost),
    ("threshold", "Which threshold to use", thresholds),
    ("galleries", "Enrolled gallery", galleries),
    ("cohorts", "For whom it got worse", cohorts),
    ("percentage", "Match percentage", calibration),
    ("curves", "Curves", curves),
    ("enrolment", "Failure to enrol", enrolment),
    ("method", "How it was measured", method),
    ("limits", "What this does not say", limits),
)


def certificate_page(record: Certificate) -> str:
    """The page, UTF-8 when written. It needs nothing beside it: no script, no font, no picture, no address."""
    style = resources.files("efq.benchmarks.certificate").joinpath("certificate.css").read_text(encoding="utf-8")
    links = [element("li", element("a", text(title), href=f"#{key}")) for key, title, _ in _SECTIONS]
    contents = element("nav", element("ol", *links), aria_label="Contents")
    body = [contents, *(build(record) for _, _, build in _SECTIONS)]
    skip = element("a", text("To the figures"), href="#cost", class_="skip")
    main = element("main", verdict(record), *body)
    return document(f"Certificate of {record.binding.artifact}", skip, main, style=style)
