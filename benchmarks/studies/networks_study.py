"""Which networks EFQ takes: each opened, lowered, written for ONNX Runtime and compared, with random weights.

`python -m efq.benchmarks.studies.networks_study -o WORK` tries the named backbones, and the networks of timm and
torchvision where these are installed; `--zoo` adds ONNX files. A network's row is kept in WORK and not made again.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.studies.networks_study")

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib.util
import json
import multiprocessing
import re
import time
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.runtime.commands.options import PATH, TEXT
from efq.runtime.console import efq_command, log
from efq.runtime.files import atomic_write_text, temporary_folder
from efq.toolchain.backbones import backbone_names

TARGET = "ort-cpu"
SECONDS = 900
_FACTORIES = "efq.benchmarks.studies.library_networks"
_FITTED, _COMPARED = 16, 8  # drawn faces

TIMM = (
    *("resnet18", "resnet50d", "seresnet50", "ecaresnet26t", "resnext50_32x4d", "regnety_004", "mobilenetv3_large_100"),
    *("efficientnet_b0", "tf_efficientnet_b0", "ghostnet_100", "mixnet_s", "repvgg_a0", "rexnet_100", "densenet121"),
    *("convnext_atto", "resnetv2_50", "vit_tiny_patch16_224"),
)
TORCHVISION = (
    *(
        "mobilenet_v2",
        "mobilenet_v3_small",
        "shufflenet_v2_x1_0",
        "squeezenet1_1",
        "googlenet",
        "vgg11_bn",
        "densenet121",
    ),
    *("regnet_y_400mf", "convnext_tiny"),
)
ZOO = {
    "sface_2021dec_dequant_fp32.onnx": None,
    "face_recognition_sface_2021dec_int8bq.onnx": None,
    "faceplugin_mobilefacenet512.onnx": "bgr,-1..1",
    "scrfd_2.5g_bnkps.onnx": "127.5/128,640x640",
    "yunet_2023mar_dequant_fp32.onnx": "bgr,0..255,640x640",
}
LIKE_OTHERS = re.compile(
    r"(adaface-ir|magface-iresnet|iresnet)(34|50|100|101)|curricularface.*|ir(50|101|152)|ir-se1.*"
)
"""Deeper or shallower than another of the list, and otherwise the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A network to try. backbone: as `--backbone` takes it; path: of a file with its weights, None for random ones."""

    group: str
    name: str
    backbone: str | None = None
    path: Path | None = None
    teacher_input: str | None = None


def trials(zoo: Path | None) -> list[Trial]:
    """Those that can be tried here."""
    names = [name for name in backbone_names() if not LIKE_OTHERS.fullmatch(name)]
    found = [Trial(group="named", name=name, backbone=name) for name in names]
    for library, networks in (("timm", TIMM), ("torchvision", TORCHVISION)):
        if importlib.util.find_spec(library) is None:
            log(f"{library} is not installed: its networks are left out")
            continue
        found += [Trial(group=library, name=name, backbone=f"{_FACTORIES}:{library}_{name}") for name in networks]
    if zoo is not None:
        files = [(zoo / name, said) for name, said in ZOO.items() if (zoo / name).exists()]
        found += [Trial(group="ONNX file", name=path.name, path=path, teacher_input=said) for path, said in files]
    return found


@click.command()
@click.option("--zoo", type=PATH, help="Folder of ONNX files to try, too.")
@click.option("--only", type=TEXT, help="Networks whose group and name match this regular expression: 'timm resnet'.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder of a JSON file a network, and networks.md.")
@efq_command
def main(zoo: Path | None, only: str | None, output: Path) -> None:
    """Try each network, and write the table."""
    chosen = [trial for trial in trials(zoo) if re.search(only or "", f"{trial.group} {trial.name}")]
    rows = []
    with contextlib.ExitStack() as stack:
        processes = _Process(stack)
        for trial in chosen:
            record = output / f"{trial.group}-{trial.name}.json".replace(" ", "-")
            if not record.exists():
                atomic_write_text(record, json.dumps(processes.row_of(trial), indent=2) + "\n")
            rows.append(json.loads(record.read_text(encoding="utf-8")))
            log(f"{trial.group} {trial.name}: {rows[-1].get('message') or 'taken'}")
    atomic_write_text(output / "networks.md", table(rows) + "\n")
    print(table(rows))


class _Process:
    """A process that tries networks, and another in its place where one ends it, or takes too long."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def row_of(self, trial: Trial) -> dict[str, Any]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = self._stack.enter_context(concurrent.futures.ProcessPoolExecutor(1, mp_context=context))
        try:
            return self._pool.submit(try_network, trial).result(timeout=SECONDS)
        except concurrent.futures.process.BrokenProcessPool:
            message = "its process ended"
        except TimeoutError:
            for child in multiprocessing.active_children():
                child.kill()
            message = f"not done after {SECONDS} s"
        self._pool = None
        return _row(trial) | {"message": message}


def _row(trial: Trial) -> dict[str, Any]:
    return {"group": trial.group, "name": trial.name}


def try_network(trial: Trial) -> dict[str, Any]:
    """The row of one network: what it is, what became of it, and where it was refused, why."""
    import torch

    from efq.runtime.errors import EfqError
    from efq.toolchain.backbones import find_backbone
    from efq.toolchain.teachers import open_teacher

    row, started = _row(trial), time.monotonic()
    faces = _faces()
    with temporary_folder("efq-networks") as folder:
        try:
            if trial.path is None:
                assert trial.backbone is not None
                backbone = find_backbone(trial.backbone)
                network = backbone.build()
                size = getattr(network, "input_size", backbone.size) or (112, 112)
                try:
                    settle(network, faces[:_FITTED], size)
                except Exception as error:  # of the network's own code
                    return row | {"message": f"does not run on images of {size[0]}x{size[1]}: {error}"}
                path = folder / "weights.pt"
                torch.save(network.state_dict(), path)
            else:
                path = trial.path
            teacher = open_teacher(path, trial.backbone, trial.teacher_input)
            row["input"] = str(teacher.input)
            row["parameters"] = sum(parameter.numel() for parameter in teacher.network.parameters())
            row |= _exported(teacher, faces, folder / "artifact")
        except EfqError as error:
            row["message"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        except Exception as error:
            row["message"] = f"a fault of EFQ's: {type(error).__name__}: {' '.join(str(error).split())}"
    return row | {"seconds": round(time.monotonic() - started, 1)}


@functools.cache
def _faces() -> NDArray[np.uint8]:
    return drawn_faces(_FITTED + _COMPARED)


def settle(network: Any, faces: NDArray[np.uint8], size: tuple[int, int]) -> None:
    """Random weights under which signals keep their size, and embeddings of faces differ as those of a trained one.

    Convolutions and linear layers by He's rule, BatchNorm statistics those of `faces`, and a last bias that centers
    their embeddings.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    channels = 3
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in")
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    channels = first.in_channels if first.groups == 1 else 3
    images = torch.from_numpy(resized(faces, size)).permute(0, 3, 1, 2).float()[:, :channels] / 127.5 - 1.0
    drops = [module for module in network.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
    network.train()
    for module in drops:
        module.eval()
    with torch.no_grad():
        network(images)
        network.eval()
        embeddings = network(images)
        last = [module for module in network.modules() if isinstance(module, nn.Linear | nn.BatchNorm1d)][-1:]
        for module in last:
            if module.bias is not None and isinstance(embeddings, torch.Tensor):
                fits = embeddings.dim() == 2 and module.bias.shape == embeddings.shape[1:]
                module.bias.sub_(embeddings.mean(0) if fits else 0.0)


def resized(faces: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The faces in another height and width, (N, height, width, 3)."""
    height, width = size
    if faces.shape[1:3] == size:
        return faces
    return np.stack([np.asarray(cv2.resize(face, (width, height)), np.uint8) for face in faces])


def _exported(teacher: Any, faces: NDArray[np.uint8], artifact: Path) -> dict[str, Any]:
    """Lower without training, export, compare the artifact with the student and the student with the teacher."""
    import torch

    from efq.export import export_student
    from efq.export.rehearsal import untrained_student
    from efq.toolchain.networks import torch_embedding
    from efq.toolchain.recipes.recipe import load_recipe

    images = resized(faces, (teacher.contract.height, teacher.contract.width))
    recipe = dataclasses.replace(load_recipe("prelu"), steps=0, calibration_images=_FITTED, fitting_images=_FITTED)
    student = untrained_student(teacher, recipe, images[:_FITTED])
    export = export_student(student, TARGET, artifact, bits=recipe.weight_bits, rehearsal=True)
    device, compared = torch.device("cpu"), images[_FITTED:]
    floats, integers = (torch_embedding(one, device)(compared) for one in (teacher.normalized, student.network))
    coverage = export.coverage
    return {
        "embedding": student.embedding_size,
        "integer_share": None if coverage is None else coverage.multiply_add_fraction,
        "islands": [] if coverage is None else [share.op_type for share in coverage.float_islands],
        "island_time": None if coverage is None else _time(coverage.float_islands),
        "artifact_cosine": export.parity["least_cosine_to_integer_student"],
        "student_cosine": float((integers * floats).sum(1).mean()),
        "teacher_alike": float(np.mean((floats @ floats.T)[~np.eye(len(floats), dtype=bool)])),
    }


def _time(islands: Any) -> float:
    return float(sum(share.time_share or 0.0 for share in islands))


def table(rows: list[dict[str, Any]]) -> str:
    """A row a network, refused ones last in their group."""
    lines = [
        "| network | parameters | input | taken | multiply-adds in integers | artifact | student | message |",
        "|---|---|---|---|---|---|---|---|",
    ]  # "artifact" and "student": cosines, to the student in integers and to the teacher
    for group in dict.fromkeys(row["group"] for row in rows):
        lines.append(f"| **{group}** | | | | | | | |")
        members = [row for row in rows if row["group"] == group]
        lines += [_line(row) for row in sorted(members, key=lambda row: "message" in row)]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    millions = f"{row['parameters'] / 1e6:.2f} M" if "parameters" in row else ""
    message = re.sub(r"/\S*/", "", row.get("message", "")).replace("|", "\\|")  # of files, their names alone
    if "message" in row:
        cells = (millions, row.get("input", ""), "no", "", "", "", message)
    else:
        islands = f"; {row['island_time']:.0%} of time in float" if row["islands"] else ""
        cosines = f"{row['artifact_cosine']:.6f}", f"{row['student_cosine']:.3f}"
        cells = (millions, row["input"], "yes", f"{row['integer_share']:.0%}{islands}", *cosines, "")
    return f"| {row['name']} | {' | '.join(cells)} |"
