"""What the routes of a service answer to requests that are as they should be."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from artifacts import make_artifact, reference_embeddings
from detectors import make_detector, paste_face
from networks import draw_faces
from services import App, app_of, face_png, image

from efq.runtime.detection.detector import Detector
from efq.runtime.faces.images import decode_image
from efq.runtime.faces.template import ARCFACE_TEMPLATE

THRESHOLDS = ((1e-2, 0.2), (1e-3, 0.4))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifact") / "artifact")


@pytest.fixture(scope="module")
def shared(artifact: Path) -> Iterator[App]:
    with app_of(artifact, thresholds=THRESHOLDS) as made:
        yield made


@pytest.fixture
def app(shared: App) -> App:
    """The one of this file, with nobody enrolled."""
    shared.store.clear()
    return shared


@pytest.fixture(scope="module")
def detecting(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    path = make_detector(tmp_path_factory.mktemp("detector") / "detector.onnx", size=320)
    with Detector.open(path, threads=1) as detector, app_of(artifact, detector=detector) as made:
        yield made


def photo(places: list[tuple[int, int]]) -> dict[str, Any]:
    picture = np.full((320, 320, 3), 90, np.uint8)
    for (column, row), face in zip(places, draw_faces(len(places), 1), strict=True):
        paste_face(picture, face, column, row)
    return {"data": base64.b64encode(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes()).decode()}


def pixels(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return decode_image(face_png(seed), name="a face")


def test_embeddings_are_the_models(app: App) -> None:
    answer = app("POST", "/v1/embeddings", json={"images": [image(0), image(1), image(2)]}).json()
    expected = reference_embeddings(np.stack([pixels(seed) for seed in range(3)]))
    assert np.abs(np.array(answer["embeddings"]) - expected).max() < 1e-5
    direct = app.engine.embedder.embed(np.stack([pixels(seed) for seed in range(3)]))
    assert np.array(answer["embeddings"], np.float32).tobytes() == direct.tobytes()
    assert answer["model"]["embedding_size"] == 16
    assert answer["faces"] == [{"input": "crop"}] * 3


def test_an_image_is_a_body_too(app: App) -> None:
    listed = app("POST", "/v1/embeddings", json={"images": [image(3)]}).json()
    alone = app("POST", "/v1/embeddings", content=face_png(3), headers={"Content-Type": "image/png"}).json()
    assert alone == listed


def test_landmarks_align_a_photo(app: App) -> None:
    larger = cv2.resize(pixels(4)[:, :, ::-1], (224, 224))
    data = base64.b64encode(cv2.imencode(".png", larger)[1].tobytes()).decode()
    landmarks = (ARCFACE_TEMPLATE * 2).tolist()
    sent = {"images": [{"data": data, "landmarks": landmarks}], "crops": True}
    answer = app("POST", "/v1/embeddings", json=sent).json()
    assert answer["faces"] == [{"input": "landmarks", "photo_size": [224, 224]}]
    crop = decode_image(base64.b64decode(answer["crops"][0]), name="the crop")
    assert crop.shape == (112, 112, 3)
    assert np.abs(crop.astype(int) - pixels(4)).mean() < 4


def test_a_detector_finds_the_largest_face(detecting: App) -> None:
    answer = detecting("POST", "/v1/embeddings", json={"images": [photo([(80, 80), (200, 200)])], "crops": True}).json()
    (face,) = answer["faces"]
    assert face["input"] == "detected"
    assert face["found"] == 2
    assert face["photo_size"] == [320, 320]
    assert np.array(face["landmarks"]).shape == (5, 2)
    assert len(answer["crops"]) == 1


@pytest.mark.parametrize(
    ("places", "options", "code"),
    [
        ([], {}, "no_face"),
        ([(80, 80), (200, 200)], {"take": "single"}, "several_faces"),
        ([(80, 80)], {"input": "crop"}, "not_a_crop"),
    ],
)
def test_photos_without_the_face_asked_for(
    detecting: App, places: list[tuple[int, int]], options: dict[str, Any], code: str
) -> None:
    sent = photo(places) if places else {"data": image(0, side=320)["data"]}
    answer = detecting("POST", "/v1/embeddings", json={"images": [sent], **options})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == code


def test_two_images_are_compared(app: App) -> None:
    sent = {"images": [image(0), image(1)], "threshold": 0.1}
    answer = app("POST", "/v1/verify", json=sent).json()
    first, second = reference_embeddings(np.stack([pixels(0), pixels(1)]))
    assert answer["similarity"] == pytest.approx(first @ second, abs=1e-5)
    assert answer["accepted"] is (answer["similarity"] > 0.1)
    assert answer["fmr"] is None
    assert "crops" not in answer


def test_an_fmr_chooses_the_certified_threshold(app: App) -> None:
    answer = app("POST", "/v1/verify", json={"images": [image(0), image(0)], "fmr": 5e-3}).json()
    assert (answer["threshold"], answer["fmr"], answer["accepted"]) == (0.4, 5e-3, True)
    refused = app("POST", "/v1/verify", json={"images": [image(0), image(0)], "fmr": 1e-6})
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "fmr_not_certified"


def test_the_service_has_a_default(artifact: Path) -> None:
    with app_of(artifact, thresholds=THRESHOLDS, fmr=1e-3) as app:
        answer = app("POST", "/v1/verify", json={"images": [image(0), image(0)]}).json()
        assert (answer["threshold"], answer["fmr"]) == (0.4, 1e-3)
        own = app("POST", "/v1/verify", json={"images": [image(0), image(0)], "threshold": 0.9}).json()
        assert (own["threshold"], own["fmr"]) == (0.9, None)


def test_people_come_and_go(app: App) -> None:
    made = app("POST", "/v1/people", json={"person": "Ann Ó/2", "images": [image(0), image(1)]})
    assert made.status_code == 201
    faces = made.json()["faces"]
    assert len(set(faces)) == 2
    assert app("POST", "/v1/people", json={"person": "Bo", "images": [image(2)], "faces": ["b-1"]}).status_code == 201

    listed = app("GET", "/v1/people").json()
    assert [(one["person"], one["faces"]) for one in listed["people"]] == [("Ann Ó/2", 2), ("Bo", 1)]
    assert listed["next"] is None
    page = app("GET", "/v1/people?limit=1").json()
    assert page["next"] == "Ann Ó/2"
    assert [one["person"] for one in app("GET", "/v1/people", params={"after": page["next"]}).json()["people"]] == [
        "Bo"
    ]

    assert sorted(app("GET", "/v1/people/Ann%20%C3%93%2F2").json()["faces"]) == sorted(faces)
    found = app("POST", "/v1/search", json={"image": image(1), "k": 2, "threshold": -1}).json()
    assert (found["matches"][0]["person"], found["matches"][0]["face"]) == ("Ann Ó/2", faces[1])
    assert found["matches"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert len(found["matches"]) == 2
    verified = app("POST", "/v1/verify", json={"image": image(1), "person": "Ann Ó/2", "fmr": 1e-3}).json()
    assert (verified["accepted"], verified["threshold"]) == (True, 0.4)

    one = app("DELETE", "/v1/people/Ann%20%C3%93/2", params={"face": faces[0]})
    assert one.json() == {"person": "Ann Ó/2", "faces": 1}
    assert app("DELETE", "/v1/people/Ann%20%C3%93/2").json()["faces"] == 1
    assert app("DELETE", "/v1/people/Ann%20%C3%93/2").status_code == 404
    assert app("GET", "/v1/people/Ann%20%C3%93/2").status_code == 404
    gone = app("POST", "/v1/verify", json={"image": image(1), "person": "Ann Ó/2", "fmr": 1e-3})
    assert gone.json()["error"]["code"] == "person_not_found"


def test_a_search_leaves_out_who_is_below_the_threshold(app: App) -> None:
    app("POST", "/v1/people", json={"person": "Bo", "images": [image(2)]})
    answer = app("POST", "/v1/search", json={"image": image(3), "threshold": 0.9999}).json()
    assert answer["matches"] == []


def test_a_request_that_is_sent_again_enrolls_nothing_twice(app: App) -> None:
    sent = {"person": "Bo", "images": [image(2)], "faces": ["b-1"]}
    assert app("POST", "/v1/people", json=sent).status_code == 201
    again = app("POST", "/v1/people", json=sent)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "face_exists")
    assert app("GET", "/v1/people/Bo").json()["faces"] == ["b-1"]


def test_the_model_describes_itself(app: App) -> None:
    answer = app("GET", "/v1/model").json()
    assert answer["name"] == "tiny"
    assert answer["sha256"] == app.engine.model.sha256
    assert answer["input"]["height"] == 112
    assert answer["thresholds"] == [{"fmr": fmr, "threshold": value} for fmr, value in THRESHOLDS]
    assert answer["gallery"] == {"kind": "memory", "template": "best", "people": 0, "faces": 0}
    assert answer["detector"] is None


def test_a_service_without_a_gallery(artifact: Path) -> None:
    with app_of(artifact, store=False) as app:
        assert app("GET", "/v1/model").json()["gallery"] is None
        for method, path in (("GET", "/v1/people"), ("GET", "/v1/people/Bo"), ("DELETE", "/v1/people/Bo")):
            answer = app(method, path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_gallery")
        answer = app("POST", "/v1/search", json={"image": image(0), "threshold": 0.5})
        assert answer.json()["error"]["code"] == "no_gallery"
        assert app("GET", "/v2/health/ready").status_code == 200


def test_every_get_answers_head_as_well(app: App) -> None:
    answer = app("HEAD", "/v1/model")
    assert answer.status_code == 200
