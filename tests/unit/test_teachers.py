"""The one door for teachers: torch checkpoints, formats of other packages, and files that are neither."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from extensions import install
from messages import raises_naming
from networks import TEACHER, randomize, teacher_network
from torch import nn

from efq.runtime import InputContract
from efq.runtime.errors import CheckpointError, UsageError
from efq.runtime.reading import sha256_file
from efq.toolchain.backbones import backbone_names, register
from efq.toolchain.backbones.registry import _REGISTRY, Backbone
from efq.toolchain.teachers import Normalization, open_teacher
from efq.toolchain.teachers.formats import ENTRY_POINTS, teacher_formats

FORMATS = """
class Raising:
    name = "raising"

    def recognizes(self, path):
        raise OSError("the disk is gone")

    def open(self, path, backbone):
        raise AssertionError


class Text:
    name = "text"

    def recognizes(self, path):
        return path.read_bytes().startswith(b"# a network")

    def open(self, path, backbone):
        from networks import randomize, teacher_network
        from efq.toolchain.teachers import Normalization, Teacher

        normalization = Normalization(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
        network = randomize(teacher_network())
        return Teacher.of_network(network, name="text", normalization=normalization, path=path, licence="MIT")


RAISING, TEXT, NEITHER = Raising(), Text(), "a string"
"""


def save(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def test_a_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    network = randomize(teacher_network())
    path = save(network, tmp_path / "weights.pt")
    teacher = open_teacher(path, TEACHER)
    assert (teacher.name, teacher.licence, teacher.contract) == (TEACHER, "unknown", InputContract())
    assert teacher.normalization == Normalization(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
    assert (teacher.path, teacher.sha256) == (path, sha256_file(path, expected="a file"))
    images = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    pixels = (images.permute(0, 3, 1, 2).float() - 127.5) / 127.5
    with torch.no_grad():
        wanted = network(pixels)
        torch.testing.assert_close(teacher.network(pixels), wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(teacher.normalized(images), wanted, atol=1e-4, rtol=1e-4)
    assert not teacher.network.training
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


def test_normalization_and_licence_are_those_of_its_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efq.toolchain.backbones.registry._REGISTRY", dict(_REGISTRY))
    mean, std = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    register(Backbone(name="tiny", build=teacher_network, mean=mean, std=std, licence="MIT"))
    teacher = open_teacher(save(teacher_network(), tmp_path / "weights.pt"))
    assert (teacher.name, teacher.licence) == ("tiny", "MIT")
    assert teacher.normalization == Normalization(mean=mean, std=std)


def test_both_of_torchs_file_formats(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pt"
        torch.save(randomize(teacher_network()).state_dict(), path, _use_new_zipfile_serialization=zipped)
        assert open_teacher(path, TEACHER).name == TEACHER


@pytest.mark.parametrize("content", [b"", b"no network at all", b"PK\x03\x04 cut off", b"\x80\x02 cut off"])
def test_what_is_no_teacher(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with raises_naming(CheckpointError, path):
        open_teacher(path)
    path.write_bytes(content)
    with raises_naming(CheckpointError, path):
        open_teacher(path)
    with raises_naming(CheckpointError, tmp_path):
        open_teacher(tmp_path)


def test_an_unknown_backbone(tmp_path: Path) -> None:
    with raises_naming(UsageError, "resnet", *backbone_names()):
        open_teacher(save(teacher_network(), tmp_path / "weights.pt"), "resnet")


class Viewing(nn.Module):
    """A network whose view needs contiguous tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.fc = nn.Conv2d(3, 4, 28, 28), nn.Linear(64, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.layer(images)
        result: torch.Tensor = self.fc(features.view(features.shape[0], -1))
        return result


class Maps(nn.Conv2d):
    """A network that gives maps, no embeddings."""

    def __init__(self) -> None:
        super().__init__(3, 4, 28, 28)


def test_a_network_that_views_its_tensors(tmp_path: Path) -> None:
    network = randomize(Viewing())
    teacher = open_teacher(save(network, tmp_path / "weights.pt"), "test_teachers:Viewing")
    images = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    with torch.no_grad():
        wanted = network((images.permute(0, 3, 1, 2).float().contiguous() - 127.5) / 127.5)
        torch.testing.assert_close(teacher.normalized(images), wanted)


def test_a_network_without_embeddings(tmp_path: Path) -> None:
    path = save(Maps(), tmp_path / "weights.pt")
    with raises_naming(CheckpointError, "(2, d)", "112x112", "(2, 4, 4, 4)"):
        open_teacher(path, "test_teachers:Maps")


@pytest.fixture
def other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package whose entry points are a format that works, one that raises, an object that is none, and a mistake."""
    objects = {
        "a_mistake": "MISSING",
        "b_neither": "NEITHER",
        "c_class": "Text",
        "raising": "RAISING",
        "text": "TEXT",
    }
    points = {name: f"toy_formats:{attribute}" for name, attribute in objects.items()}
    install(tmp_path / "site", name="toy_formats", code=FORMATS, entry_points={ENTRY_POINTS: points})
    monkeypatch.syspath_prepend(tmp_path / "site")
    teacher_formats.cache_clear()
    yield
    teacher_formats.cache_clear()


@pytest.mark.usefixtures("other_packages")
def test_formats_of_other_packages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those that are broken are named in the log, and keep none of the others from working."""
    (tmp_path / "network.txt").write_text("# a network")
    save(randomize(teacher_network()), tmp_path / "weights.pt")
    with caplog.at_level(logging.WARNING, "efq"):
        found = open_teacher(tmp_path / "network.txt")
        assert open_teacher(tmp_path / "weights.pt", TEACHER).name == TEACHER
    assert (found.name, found.licence, found.normalization.std) == ("text", "MIT", (255.0, 255.0, 255.0))
    said = [record.getMessage() for record in caplog.records]
    for name in ("a_mistake", "b_neither", "c_class"):
        assert sum(name in line for line in said) == 1
    assert any("raising" in line and "the disk is gone" in line for line in said)
    (tmp_path / "other.txt").write_text("no network")
    with raises_naming(CheckpointError, tmp_path / "other.txt", "text", "torch checkpoint"):
        open_teacher(tmp_path / "other.txt")
