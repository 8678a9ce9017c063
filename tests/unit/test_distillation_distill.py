"""Distillation of a tiny network: it learns, it is reproducible, it resumes bit for bit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from messages import names, raises_naming
from networks import TEACHER, draw_faces, make_faces, make_teacher
from torch import Tensor

from efq.runtime.errors import CheckpointError, EfqError, InputError, TeacherError, UsageError
from efq.toolchain.data import Augmentation, draw_images
from efq.toolchain.distillation import Licences, distill
from efq.toolchain.distillation.distill import lower_teacher
from efq.toolchain.distillation.processes import Processes
from efq.toolchain.distillation.resume import load_resume, resume_path, save_resume
from efq.toolchain.distillation.trainer import Trainer
from efq.toolchain.lowering import float_graph
from efq.toolchain.networks import torch_embedding
from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student, load_student
from efq.toolchain.teachers import Teacher, open_teacher

FACES = make_faces()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return make_teacher(tmp_path_factory.mktemp("teacher") / "teacher.pt")


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "tiny",
        "activation": "relu",
        "steps": 6,
        "identities_per_batch": 4,
        "learning_rate": 3e-3,
        "augmentation": Augmentation(low_resolution=0.0, blur=0.0),
    }
    return Recipe(**values | changes)


def distill_start(teacher: Teacher, chosen: Recipe) -> Trainer:
    images = torch.from_numpy(draw_images(FACES, 64, 0))
    network, _ = lower_teacher(teacher, images, chosen)
    normalization = teacher.normalization
    return Trainer(
        network,
        float_graph(teacher.network, normalization.mean, normalization.std),
        FACES,
        chosen,
        seed=0,
        processes=Processes(rank=0, world_size=1, device=torch.device("cpu")),
    )


def weights(student: Student) -> dict[str, Tensor]:
    return student.network.state_dict()


def equal(first: Student, second: Student) -> bool:
    found, wanted = weights(first), weights(second)
    return list(found) == list(wanted) and all(torch.equal(found[key], wanted[key]) for key in wanted)


def mean_cosine(student: Student, teacher: Teacher) -> float:
    device = torch.device("cpu")
    wanted = torch_embedding(teacher.normalized, device)(draw_faces())
    return float((torch_embedding(student.network, device)(draw_faces()) * wanted).sum(1).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"metric_weight": 1.0}, {"feature_weight": 0.1}], ids=["plain", "metric", "features"]
)
def test_the_student_comes_closer_to_the_teacher(teacher: Teacher, options: dict[str, float], tmp_path: Path) -> None:
    started = distill(teacher, FACES, recipe(steps=0, **options), tmp_path / "started.pt")
    finished = distill(teacher, FACES, recipe(steps=120, **options), tmp_path / "finished.pt")
    before, after = mean_cosine(started, teacher), mean_cosine(finished, teacher)
    assert 1 - after < 0.8 * (1 - before)
    assert {"loss", "genuine", "impostor"} & set(finished.training) == (
        {"loss", "genuine", "impostor"} if "metric_weight" in options else {"loss"}
    )


@pytest.mark.slow
def test_quantizers_start_after_the_float_steps(teacher: Teacher, tmp_path: Path) -> None:
    """They are off for the first steps, start anew from the weights of then, and learn from then on."""
    for steps, float_share in ((8, 0.75), (8, 0.0), (1, 0.9)):
        student = distill(teacher, FACES, recipe(steps=steps, float_share=float_share), tmp_path / "student.pt")
        quantizers = [m for m in student.network.modules() if isinstance(m, ActivationQuantizer | WeightQuantizer)]
        assert all(quantizer.enabled for quantizer in quantizers)
    frozen = recipe(steps=8, float_share=0.9, range_learning_rate=0.0, learning_rate=0.0)
    still = distill(teacher, FACES, frozen, tmp_path / "still.pt")
    untrained = distill(teacher, FACES, recipe(steps=0), tmp_path / "untrained.pt")
    assert equal(still, untrained)


@pytest.mark.slow
def test_weights_can_be_quantized_from_the_first_step(teacher: Teacher, tmp_path: Path) -> None:
    """Their scales learn on while activations are float, and are not started anew."""
    options: dict[str, Any] = {"weight_bits": 4, "float_share": 0.5, "float_phase": "activations"}
    still = distill(teacher, FACES, recipe(steps=8, learning_rate=0.0, **options), tmp_path / "still.pt")
    untrained = distill(teacher, FACES, recipe(steps=0, **options), tmp_path / "untrained.pt")
    scales = {key: value for key, value in weights(untrained).items() if key.endswith("weight_quantizer.log_scale")}
    assert scales
    assert any(not torch.equal(value, weights(still)[key]) for key, value in scales.items())
    frozen = recipe(steps=8, learning_rate=0.0, range_learning_rate=0.0, **options)
    same = distill(teacher, FACES, frozen, tmp_path / "same.pt")
    assert all(torch.equal(value, weights(same)[key]) for key, value in scales.items())
    layer = next(m for m in still.network.modules() if isinstance(m, WeightQuantizer) and m.bits == 4)
    assert layer.enabled


def test_what_the_file_says_of_itself(teacher: Teacher, tmp_path: Path) -> None:
    output = tmp_path / "new" / "student.pt"
    made = distill(teacher, FACES, recipe(), output, licences=Licences(teacher="MIT", data="CC0"))
    student = load_student(output)
    assert equal(student, made)
    assert student.teacher == {"name": "networks:teacher_network", "sha256": teacher.sha256, "licence": "MIT"}
    assert student.data == {"images": 24, "identities": 8, "sha256": FACES.sha256, "licence": "CC0-1.0"}
    assert student.training_hashes == tuple(sorted(FACES.short_hashes))
    assert (student.training["steps"], student.training["images"], student.training["seed"]) == (6, 48, 0)
    assert list(student.thresholds) == ["1e-2", "1e-3", "1e-4"]
    assert student.recipe == recipe()
    assert not student.network.training
    assert [path.name for path in output.parent.iterdir()] == ["student.pt"]


@pytest.mark.slow
def test_seeds(teacher: Teacher, tmp_path: Path) -> None:
    students = [distill(teacher, FACES, recipe(), tmp_path / "student.pt", seed=seed) for seed in (0, 0, 1)]
    assert equal(students[0], students[1])
    assert not equal(students[0], students[2])


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Save the state after every step, and stop for good once `after` states are written."""
    written = []

    def save_and_stop(*arguments: Any) -> None:
        save_resume(*arguments)
        written.append(arguments)
        if len(written) == after:
            raise Killed

    monkeypatch.setitem(distill.__globals__, "save_resume", save_and_stop)
    monkeypatch.setattr(Trainer, "run", functools.partialmethod(Trainer.run, checkpoint_seconds=-1.0))


@pytest.mark.parametrize("after", [2, 3, 4])
@pytest.mark.parametrize(
    "options",
    [{"activation": "relu", "float_share": 0.5}, {"activation": "prelu", "metric_weight": 1.0}],
    ids=["float-first", "metric"],
)
def test_resumes_bit_for_bit(
    teacher: Teacher, options: dict[str, Any], after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before, at and behind the step at which quantizers are switched on."""
    whole = distill(teacher, FACES, recipe(**options), tmp_path / "whole.pt")
    output = tmp_path / "student.pt"
    with monkeypatch.context() as patch:
        interrupt(patch, after=after)
        with pytest.raises(Killed):
            distill(teacher, FACES, recipe(**options), output)
    assert not output.exists()
    resumed = distill(teacher, FACES, recipe(**options), output, resume=True)
    assert equal(resumed, whole)
    assert resumed.training["loss"] == whole.training["loss"]
    assert (resumed.notes, resumed.activations) == (whole.notes, whole.activations)
    assert not resume_path(output).exists()


def test_another_run_does_not_resume_it(teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "student.pt"
    with monkeypatch.context() as patch:
        interrupt(patch, after=1)
        with pytest.raises(Killed):
            distill(teacher, FACES, recipe(), output)
    other = make_teacher(tmp_path / "other.pt", seed=3)
    for change, arguments, seed in (
        ("recipe", (teacher, FACES, recipe(steps=7)), 0),
        ("data", (teacher, make_faces(people=9), recipe()), 0),
        ("teacher", (other, FACES, recipe()), 0),
        ("seed", (teacher, FACES, recipe()), 5),
    ):
        with raises_naming(UsageError, resume_path(output), change):
            distill(*arguments, output, seed=seed, resume=True)  # type: ignore[arg-type]
    assert resume_path(output).exists()


def test_nothing_to_resume(teacher: Teacher, tmp_path: Path) -> None:
    output = tmp_path / "student.pt"
    with raises_naming(CheckpointError, resume_path(output), "--resume"):
        distill(teacher, FACES, recipe(), output, resume=True)
    torch.save({"other": 1}, resume_path(output))
    with raises_naming(CheckpointError, resume_path(output), "--resume"):
        load_resume(resume_path(output), {})
    resume_path(output).write_bytes(b"PK\x03\x04 cut off")
    with raises_naming(CheckpointError, resume_path(output)):
        load_resume(resume_path(output), {})


def test_batches_larger_than_the_set(teacher: Teacher, tmp_path: Path) -> None:
    with raises_naming(UsageError, len(FACES.images), 13):
        distill(teacher, FACES, recipe(identities_per_batch=13), tmp_path / "student.pt")


def test_one_identity_gives_no_thresholds(teacher: Teacher, tmp_path: Path) -> None:
    with raises_naming(InputError, "1 identities"):
        distill(teacher, make_faces(people=1, each=9), recipe(steps=1), tmp_path / "student.pt")
    assert not (tmp_path / "student.pt").exists()


@pytest.mark.parametrize("spoilt", ["weight", "gradient"])
def test_a_loss_or_gradient_that_is_not_finite(teacher: Teacher, spoilt: str) -> None:
    started = distill_start(teacher, recipe())
    parameter = next(started.network.parameters())
    before = {name: value.clone() for name, value in started.network.state_dict().items()}
    if spoilt == "weight":
        with torch.no_grad():
            parameter[0] = torch.inf
    else:
        parameter.register_hook(lambda gradient: gradient * torch.inf)
    with raises_naming(EfqError, "step 0 of 6", "learning rate", "0.003", "nan"):
        started.run(lambda: None)
    assert started.step == 0
    if spoilt == "gradient":  # no step was taken with it
        assert all(torch.equal(value, before[name]) for name, value in started.network.state_dict().items())


@pytest.mark.parametrize("spoil", [lambda bias: bias.fill_(1.0), lambda bias: bias.zero_()], ids=["constant", "zero"])
@pytest.mark.parametrize("accept", [False, True])
def test_a_teacher_whose_embeddings_are_none(
    teacher: Teacher, spoil: Callable[[Tensor], Tensor], accept: bool, tmp_path: Path
) -> None:
    """Whatever the image: their student would agree with a cosine of 1.0000."""
    content = torch.load(teacher.path, weights_only=True)
    spoil(content["fc.bias"])
    content["fc.weight"].zero_()
    torch.save(content, tmp_path / "broken.pt")
    broken = open_teacher(tmp_path / "broken.pt", TEACHER)
    with raises_naming(TeacherError, TEACHER, "48"):
        distill(broken, FACES, recipe(), tmp_path / "student.pt", accept_teacher=accept)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.pt"]


def test_the_student_says_what_was_seen_of_both(teacher: Teacher, tmp_path: Path) -> None:
    """On faces it was not calibrated on, where it is not trained on all of them."""
    trained = distill(teacher, FACES, recipe(), tmp_path / "trained.pt").training
    names(trained["teacher_check"], "d-prime")
    names(trained["student_check"], "none were held out", "mean cosine of different faces")
    few = recipe(steps=0, calibration_images=16, fitting_images=8)
    untrained = distill(teacher, FACES, few, tmp_path / "untrained.pt").training
    names(untrained["student_check"], "8 held-out faces", "mean cosine to the teacher")
    assert load_student(tmp_path / "untrained.pt").training == untrained
