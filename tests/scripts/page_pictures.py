"""Pictures of the service's page for its documentation: `python tests/scripts/page_pictures.py ARTIFACT DIRECTORY`.

Starts the service on drawn faces and shows it in headless Chromium (selenium, Pillow): two faces compared, a search in
the dark, enrolled people on a phone. Prints what a screen reader is told of the first.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
import tests_folder  # noqa: F401
from browser import Browser, browsing
from page_service import serving
from PIL import Image
from services import MemoryStore

from efq.benchmarks.drawn_faces.dataset import identity_of
from efq.benchmarks.drawn_faces.renderer import draw_face
from efq.benchmarks.drawn_faces.view import random_view
from efq.runtime import Embedder
from efq.runtime.files import atomic_write_bytes
from efq.runtime.gallery.models import model_of

SEED = 11
VIEWS = 3
NAMES = ("Anna Keller", "Бояна Тодорова", "محمد بن عبد الله", "Wilhelmine von Hohenstein-Siebenbergen")
COLORS = 128
LANDMARKS = ("banner", "main", "contentinfo")
NOT_TOLD = {"InlineTextBox", "LabelText", "ListMarker", "RootWebArea", "SvgRoot", "generic", "none", "option"}


def draw(folder: Path) -> tuple[list[list[Path]], np.ndarray]:
    """Files of each person's views, and what is in them."""
    files, images = [], []
    for person in range(len(NAMES)):
        identity, generator = identity_of(person, seed=SEED)
        images.append([draw_face(identity, random_view(generator, 0.5)) for _ in range(VIEWS)])
        files.append([folder / f"photo-{person + 1}{letter}.png" for letter in "abc"])
        for file, image in zip(files[-1], images[-1], strict=True):
            cv2.imwrite(str(file), image[..., ::-1])
    return files, np.array(images)


def enrolled(embedder: Embedder, images: np.ndarray) -> MemoryStore:
    store = MemoryStore(model_of(embedder.artifact))
    for name, views in zip(NAMES, images, strict=True):
        store.enroll(name, embedder.embed(views[1:]))
    return store


def save(browser: Browser, path: Path, folder: Path) -> None:
    """In few colors: a tenth of the bytes."""
    browser.picture(folder / "picture.png")
    picture = io.BytesIO()
    with Image.open(folder / "picture.png") as whole:
        whole.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(picture, "PNG", optimize=True)
    atomic_write_bytes(path, picture.getvalue())


def told(browser: Browser) -> list[str]:
    """What a screen reader is told of the page, a line for each thing it stops at."""
    lines: list[str] = []
    for node in browser.tree():
        name = " ".join(node.name.split())
        if node.role in NOT_TOLD or not (name or node.role in LANDMARKS):
            continue
        if node.role == "StaticText":
            if lines and name in lines[-1]:  # the content that gave the name
                continue
            if lines and lines[-1].startswith("text: "):
                lines[-1] += f" {name}"
            else:
                lines.append(f"text: {name}")
            continue
        level = f" {node.properties['level']}" if node.role == "heading" else ""
        lines.append(f"{node.role}{level}: {name}".rstrip(": "))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    embedder = Embedder.open(options.artifact, threads=1)
    rates = sorted(embedder.manifest.thresholds.items(), key=lambda pair: -float(pair[0]))
    thresholds = [(float(rate), threshold) for rate, threshold in rates]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        files, images = draw(folder)
        store = enrolled(embedder, images)
        with serving(embedder, gallery=store, thresholds=thresholds) as address, browsing(folder) as browser:
            browser.open(address, width=1000, height=600)
            browser.says("#summary", "Model")
            browser.give("compare-first", files[0][0])
            browser.give("compare-second", files[0][1])
            browser.click("#compare .primary")
            browser.says("#compare-result", "Similarity")
            print("\n".join(told(browser)))
            save(browser, options.directory / "compare.png", folder)
            browser.open(f"{address}#search", width=1000, height=600, dark=True)
            browser.says("#summary", "Model")
            browser.give("search-photo", files[1][0])
            browser.click("#search .primary")
            browser.says("#search-result", "ms")
            save(browser, options.directory / "search-dark.png", folder)
            browser.open(f"{address}#people", width=360, height=600)
            browser.says("#people-count", "people")
            save(browser, options.directory / "people-phone.png", folder)


if __name__ == "__main__":
    main()
