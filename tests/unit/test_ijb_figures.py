"""The figures of IJB-B and IJB-C against ones that were worked out on paper."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from ijb_folder import Row, Shown, write_face, write_ijb
from messages import raises_naming
from numpy.typing import NDArray

from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.runtime import InputContract, InputError, UsageError
from efq.toolchain.data.near_duplicates import near_hashes, pack_hashes
from efq.toolchain.evaluation.protocols.ijb.benchmark import read_ijb
from efq.toolchain.evaluation.protocols.ijb.measure import measure_ijb
from efq.toolchain.evaluation.protocols.ijb.mode import IjbMode
from efq.toolchain.evaluation.protocols.ijb.report import IjbReport, SearchResult

CONTRACT = InputContract()
PLAIN = IjbMode.parse("N0D0F0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protractor:
    """A network whose embedding of an image is the direction that its left side is painted with, in degrees.

    The cosine of two images is that of the angle between them, so that figures can be counted in degrees.
    """

    kind: str = "teacher"
    name: str = "protractor"
    path: Path = Path("protractor.pt")
    sha256: str = "0" * 64
    backend: str | None = None
    contract: InputContract = CONTRACT
    training_hashes: frozenset[str] = frozenset()
    training_pixel_hashes: frozenset[str] | None = None
    training_near_hashes: bytes | None = None
    scale: float = 1.0

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        angles = np.deg2rad(images[:, 56, 10, 0] * self.scale)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def painted(left: int, right: int = 0) -> Shown:
    """A picture of two directions, of which the mirror image shows the second."""
    face = np.zeros((112, 112, 3), np.uint8)
    face[:40], face[70:] = 255, 60
    face[40:70, :56], face[40:70, 56:] = left, right
    return face


# 1:1. Templates 1 to 10 of the subjects A, B and C, by their angle in degrees.
SUBJECTS = ({1: 0, 2: 10, 3: 20, 4: 72}, {5: 90, 6: 100, 7: 115}, {8: 180, 9: 190, 10: 150})
ANGLES = {template: angle for subject in SUBJECTS for template, angle in subject.items()}
PAIRS = [
    (one, other, int(any({one, other} <= set(subject) for subject in SUBJECTS)))
    for one, other in itertools.combinations(ANGLES, 2)
]
# Genuine pairs by angle between: A 10 20 72 10 62 52, B 10 25 15, C 10 30 40: 12 pairs.
# Impostor pairs: A-B 90 100 115 80 90 105 70 80 95 18 28 43, A-C 12 pairs of 78 and more, B-C 90 100 60 80 90 50 65 75
# 35: 33 pairs, of which the nearest are 18 (4-5), 28 (4-6), 35 (7-10), 43 (4-7), 50.
# FAR 0.1 allows int(3.3) = 3 of them: the threshold is the cosine of 43 degrees, and 9 genuine pairs are nearer.
# FAR 0.01 allows none: that of 18 degrees, and 5 genuine pairs are nearer (10 10 10 15 10).

# 1:N. Galleries of three subjects each: 101 at 0, 102 at 40, 103 at 80; 104 at 120, 105 at 160, 106 at 200.
GALLERIES = ({11: 101, 12: 102, 13: 103}, {14: 104, 15: 105, 16: 106})
ENROLLED = {11: 0, 12: 40, 13: 80, 14: 120, 15: 160, 16: 200}
SEARCHES = {  # of each subject
    101: (5, 10, 25),
    102: (35, 45, 50, 74),
    103: (85, 95, 55),
    104: (125, 112, 142, 104),
    105: (165, 155, 138),
    106: (205, 195, 210),
}
PROBES = dict(enumerate((subject for subject, angles in SEARCHES.items() for _ in angles), start=17))
PROBE_ANGLES = dict(enumerate(itertools.chain(*SEARCHES.values()), start=17))
# G1, mated: angles to the own subject 5 10 25, 5 5 10 34, 5 15 25; another one is nearer to 25 (40), 74 (80), 55 (40):
# rank 1 is 7 of 10, rank 2 all. Its ten nonmated searches are 45 32 62 24, 85 75 58, 125 115 130 from 80, the nearest.
# FPIR 0.1 allows one: the threshold is that of 32 degrees, and 34 is missed: 0.1. FPIR 0.01 allows none: 24 degrees,
# and 25, 34 and 25 are missed: 0.3.
# G2, mated: 5 8 22 16, 5 5 22, 5 5 10; another is nearer to 142 (160, by 18) and 138 (120, by 18): rank 1 is 8 of 10.
# Nonmated searches are 25 from 120 at the nearest, then 35: no mated one is missed at either.
TAR = {1e-1: 9 / 12, 1e-2: 5 / 12, 1e-6: 5 / 12}


def rows_of(angles: Mapping[int, int]) -> list[Row]:
    return [
        Row(name=f"{template}.png", template=template, media=500 + template, face=painted(angle))
        for template, angle in angles.items()
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = rows_of(ANGLES | ENROLLED | PROBE_ANGLES)
    return write_ijb(tmp_path / "IJBC", rows, pairs=PAIRS, galleries=GALLERIES, probes=PROBES)


def measure(folder: Path, *networks: Protractor, mode: IjbMode = PLAIN) -> IjbReport:
    return measure_ijb(networks or (Protractor(),), read_ijb(folder), mode)


def tar(report: IjbReport) -> dict[float, float]:
    assert report.verification is not None
    return {row.far: row.tar.model for row in report.verification.rows}


def ranks(result: SearchResult) -> list[float]:
    return [row.identified.model for row in result.ranks]


def fnir(result: SearchResult) -> dict[float, float]:
    return {row.fpir: row.fnir.model for row in result.fnir}


def test_pairs_of_templates(folder: Path) -> None:
    report = measure(folder)
    assert report.verification is not None
    assert (report.verification.genuine_pairs, report.verification.impostor_pairs) == (12, 33)
    assert [row.far for row in report.verification.rows] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    found = tar(report)
    assert {far: found[far] for far in TAR} == pytest.approx(TAR)
    assert report.verification.rows[0].threshold == pytest.approx(np.cos(np.deg2rad(43)))
    assert not any(row.enough_impostors for row in report.verification.rows)


def test_searches_of_both_galleries(folder: Path) -> None:
    first, second, mean = measure(folder).searches
    assert (first.gallery, first.subjects, first.mated, first.nonmated) == ("gallery G1", 3, 10, 10)
    assert ranks(first) == pytest.approx([0.7, 1, 1])
    assert fnir(first) == pytest.approx({0.1: 0.1, 0.01: 0.3})
    assert ranks(second) == pytest.approx([0.8, 1, 1])
    assert fnir(second) == pytest.approx({0.1: 0, 0.01: 0})
    assert ranks(mean) == pytest.approx([0.75, 1, 1])
    assert fnir(mean) == pytest.approx({0.1: 0.05, 0.01: 0.15})
    assert first.fnir[0].threshold == pytest.approx(np.cos(np.deg2rad(32)))


def test_a_template_without_an_image_of_use_counts_as_rejected(folder: Path) -> None:
    """Template 2, at 10 degrees: of the nine genuine pairs below 43 degrees two are its own."""
    write_face(folder / "loose_crop" / "2.png", None)
    report = measure(folder)
    assert report.failed_images == ("2.png",)
    assert report.failed_templates == (2,)
    assert report.verification is not None
    assert (report.verification.genuine_pairs, report.verification.failed_genuine_pairs) == (12, 3)
    assert (report.verification.impostor_pairs, report.verification.failed_impostor_pairs) == (33, 6)
    assert tar(report)[1e-1] == pytest.approx(7 / 12)


def test_a_gallery_template_without_an_image_is_missed_by_all_its_searches(folder: Path) -> None:
    """Subject 102, at 40 degrees: its four searches miss, and those of 101 and 103 find no nearer one any more."""
    (folder / "loose_crop" / "12.png").unlink()
    first = measure(folder).searches[0]
    assert (first.subjects, first.mated, first.failed_mated) == (3, 10, 4)
    assert ranks(first) == pytest.approx([0.6, 0.6, 0.6])
    assert fnir(first) == pytest.approx({0.1: 0.4, 0.01: 0.6})


def test_a_search_without_an_image_is_a_miss_or_no_false_positive(folder: Path) -> None:
    """The search at 104 degrees, the nonmated one that is nearest to G1: 32 and 45 set the thresholds then."""
    [probe] = [template for template, angle in PROBE_ANGLES.items() if angle == 104]
    (folder / "loose_crop" / f"{probe}.png").unlink()
    first, second, _ = measure(folder).searches
    assert (first.nonmated, first.failed_nonmated, first.failed_mated) == (10, 1, 0)
    assert fnir(first) == pytest.approx({0.1: 0, 0.01: 0.1})
    assert (second.mated, second.failed_mated) == (10, 1)
    assert ranks(second) == pytest.approx([0.7, 0.9, 0.9])
    assert fnir(second) == pytest.approx({0.1: 0.1, 0.01: 0.1})


def test_a_reference_is_measured_on_the_same_images(folder: Path) -> None:
    """The model halves every angle: the order of the pairs is the same, the threshold is not."""
    report = measure(folder, Protractor(scale=0.5), Protractor())
    assert report.verification is not None
    assert report.reference is not None
    for row in report.verification.rows:
        assert row.tar.model == row.tar.reference
        assert row.tar.difference == 0
    assert report.verification.rows[0].threshold == pytest.approx(np.cos(np.deg2rad(21.5)), abs=1e-6)
    assert report.verification.rows[0].reference_threshold == pytest.approx(np.cos(np.deg2rad(43)), abs=1e-6)


def test_most_templates_have_to_have_images(folder: Path) -> None:
    for template in (1, 2, 3, 4):
        (folder / "loose_crop" / f"{template}.png").unlink()
    with raises_naming(InputError, 4, 36, "1.png", folder / "loose_crop"):
        measure(folder)
    for template in (1, 2, 3, 4):
        write_face(folder / "loose_crop" / f"{template}.png", None)
    with raises_naming(InputError, 4, 36, "1.png", folder / "loose_crop"):
        measure(folder)


def test_crops_without_a_picture_are_failures(folder: Path) -> None:
    write_face(folder / "loose_crop" / "1.png", np.full((112, 112, 3), 90, np.uint8))
    list_of = folder / "meta" / "ijbc_name_5pts_score.txt"
    lines = list_of.read_text().splitlines()
    lines[1] = "2.png " + "5 5 " * 5 + "1.0"  # no transform
    lines[2] = "3.png " + " ".join(str(5000 + 10 * place) for place in (0, 0, 4, 0, 2, 2, 0, 4, 4, 4)) + " 1.0"
    list_of.write_text("\n".join(lines))
    report = measure(folder)
    assert report.failed_images == ("1.png", "2.png", "3.png")
    assert report.failed_templates == (1, 2, 3)


def test_landmarks_that_no_face_has_are_used_all_the_same(folder: Path) -> None:
    """A nose far below the chin: as detections fail in hard images. All of them in another order are an error."""
    list_of = folder / "meta" / "ijbc_name_5pts_score.txt"
    first, *others = list_of.read_text().splitlines()
    name, *values, score = first.split()
    nose = [*values[:5], "155", *values[6:]]
    write_face(folder / "loose_crop" / name, np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8))
    list_of.write_text("\n".join([" ".join([name, *nose, score]), *others]))
    report = measure(folder)
    assert (report.odd_landmarks, report.failed_images) == (1, ())
    exchanged = [*values[2:4], *values[:2], *values[4:6], *values[8:], *values[6:8]]
    list_of.write_text("\n".join(" ".join([line.split()[0], *exchanged, "1.0"]) for line in (first, *others)))
    with raises_naming(InputError, list_of, 36, "exchanged"):
        read_ijb(folder)


def test_a_network_that_gives_nothing_finite_is_refused(folder: Path) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Broken(Protractor):
        def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return super().embed(images) * np.float32(np.nan)

    with raises_naming(InputError, "protractor", "finite"):
        measure(folder, Broken())


def test_images_a_network_was_trained_on_are_refused(folder: Path) -> None:
    digest = hashlib.sha256((folder / "loose_crop" / "4.png").read_bytes()).hexdigest()[:16]
    trained = Protractor(training_hashes=frozenset([digest]))
    with raises_naming(UsageError, "4.png", "protractor.pt", "--allow-training-images"):
        measure(folder, trained)
    report = measure_ijb([trained], read_ijb(folder), PLAIN, allow_training_images=True)
    assert (report.clean, report.model.training_images) == (False, 1)


def test_photos_a_network_was_trained_on_are_known_in_other_pixels(tmp_path: Path) -> None:
    """Drawn faces, a little brighter than they were in training: no file and no pixel is the same."""
    faces = drawn_faces(len(ANGLES))
    brighter = np.clip(faces.astype(np.int64) + 9, 0, 255).astype(np.uint8)
    rows = [Row(name=f"{at}.png", template=at, media=at, face=face) for at, face in zip(ANGLES, brighter, strict=True)]
    folder = write_ijb(tmp_path / "IJBC", rows, pairs=PAIRS)
    trained = Protractor(training_near_hashes=pack_hashes(near_hashes(faces[:1])))
    with raises_naming(UsageError, "1.png", "protractor.pt", "--allow-training-images"):
        measure(folder, trained)
    report = measure_ijb([trained], read_ijb(folder), PLAIN, allow_training_images=True)
    assert (report.clean, report.model.training_images) == (False, 1)


def test_one_protocol_alone(tmp_path: Path) -> None:
    pairs_only = write_ijb(tmp_path / "IJBB", rows_of(ANGLES), prefix="ijbb", pairs=PAIRS)
    report = measure(pairs_only)
    assert (report.benchmark, report.searches) == ("IJB-B", ())
    rows = rows_of(ENROLLED | PROBE_ANGLES)
    search_only = write_ijb(tmp_path / "other", rows, prefix="ijbb", galleries=GALLERIES, probes=PROBES)
    report = measure(search_only)
    assert report.verification is None
    assert [found.gallery for found in report.searches] == ["gallery S1", "gallery S2", "mean of 2 galleries"]
