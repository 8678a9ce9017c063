"""The surface of a graph as it is asked for, stored and fed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming

from efq.runtime import InputContract
from efq.runtime.errors import SchemaError, UsageError
from efq.runtime.faces.interface import COLOR_ORDERS, FORMS, USUAL, Interface
from efq.runtime.faces.normalization import NORMALIZATIONS, Normalization

CONTRACT = InputContract(height=112, width=96)
NORMALIZED = ("raw", *NORMALIZATIONS, "127.5/128", "104:117:123/1", "10:20:30/57:58:59.5")


@pytest.mark.parametrize(
    ("text", "shown", "described"),
    [
        ("uint8-nhwc", "uint8-nhwc", "uint8 (N, 112, 96, 3) RGB"),
        ("uint8-nhwc,rgb", "uint8-nhwc", "uint8 (N, 112, 96, 3) RGB"),
        ("UINT8-NCHW, BGR, batch=4", "uint8-nchw,bgr,batch=4", "uint8 (4, 3, 112, 96) BGR"),
        ("float-nchw", "float-nchw,rgb,-1..1", "float32 (N, 3, 112, 96) RGB, (pixel - 127.5) / 127.5"),
        ("float-nchw,bgr,raw,batch=1", "float-nchw,bgr,raw,batch=1", "float32 (1, 3, 112, 96) BGR, 0 to 255"),
        ("float-nchw,0..255", "float-nchw,rgb,raw", "float32 (N, 3, 112, 96) RGB, 0 to 255"),
        (
            "float-nchw,bgr,104:117:123/1",
            "float-nchw,bgr,104:117:123/1",
            "float32 (N, 3, 112, 96) BGR, (pixel - 104:117:123) / 1",
        ),
    ],
)
def test_an_interface_is_read_and_shown(text: str, shown: str, described: str) -> None:
    found = Interface.parse(text)
    assert (str(found), found.describe(CONTRACT)) == (shown, described)
    assert Interface.parse(shown) == found
    assert Interface.from_dict(found.to_dict()) == found
    assert found.is_usual == (shown == str(USUAL))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "nchw",
            "float-nhwc",
            "rgb,float-nchw",
            "float-nchw,rgb,bgr",
            "float-nchw,rgb,rgb",
            "float-nchw,raw,-1..1",
        ),
        *("uint8-nhwc,raw", "uint8-nchw,-1..1", "float-nchw,batch=0", "float-nchw,batch=1025", "float-nchw,batch=-1"),
        *("float-nchw,batch=1,batch=2", "float-nchw,127.5/0", "float-nchw,1:2/3", "float-nchw,nan/1", "float-nchw,,"),
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"float-nchw|1024"):
        Interface.parse(text)


def test_a_normalization_that_loses_pixels_is_refused() -> None:
    for mean, std, text in ((1e9, 1.0, "1000000000/1"), (0.0, float("nan"), "0/nan"), (float("inf"), 1.0, "inf/1")):
        with raises_naming(UsageError, "float32", text):
            Interface(form="float-nchw", normalization=Normalization(mean=(mean,) * 3, std=(std,) * 3))


@pytest.mark.parametrize(
    "values",
    [
        {},
        USUAL.to_dict() | {"more": 1},
        USUAL.to_dict() | {"form": ["uint8-nhwc"]},
        USUAL.to_dict() | {"batch": True},
        USUAL.to_dict() | {"batch": 2.0},
        USUAL.to_dict() | {"normalization": "raw"},
        USUAL.to_dict() | {"form": "float-nchw"},
        Interface.parse("float-nchw").to_dict() | {"normalization": {"mean": [1, 2, 3], "std": [1, 2]}},
        Interface.parse("float-nchw").to_dict() | {"normalization": {"mean": [1, 2, 3], "std": [1, 2, "3"]}},
        Interface.parse("float-nchw").to_dict() | {"normalization": {"mean": [1, 2, 3], "std": [1, 2, 0]}},
    ],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(SchemaError):
        Interface.from_dict(values)


@pytest.mark.parametrize("color", COLOR_ORDERS)
@pytest.mark.parametrize("normalized", NORMALIZED)
def test_all_256_pixel_values_are_told_apart(color: str, normalized: str) -> None:
    """What is fed, by the definition of a normalization in float64, and turned back."""
    interface = Interface.parse(f"float-nchw,{color},{normalized}")
    assert interface.normalization is not None
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    mean, std = (np.array(values) for values in (interface.normalization.mean, interface.normalization.std))
    wanted = (pixels.astype(np.float64) - mean) / std
    wanted = wanted if color == "rgb" else wanted[..., ::-1]
    found = interface.prepare(pixels)
    assert (found.dtype, found.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_allclose(found, wanted.transpose(0, 3, 1, 2), rtol=1e-6, atol=1e-5)


def test_bytes_are_reordered_only() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    assert USUAL.prepare(images) is images
    np.testing.assert_array_equal(Interface.parse("uint8-nhwc,bgr").prepare(images), images[..., ::-1])
    np.testing.assert_array_equal(Interface.parse("uint8-nchw").prepare(images), images.transpose(0, 3, 1, 2))
    bgr = images[..., ::-1].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(Interface.parse("uint8-nchw,bgr").prepare(images), bgr)


@given(form=st.sampled_from(FORMS), batch=st.integers(1, 5) | st.none(), count=st.integers(1, 11))
def test_each_image_is_fed_once_and_batches_are_full(form: str, batch: int | None, count: int) -> None:
    interface = Interface.parse(form if batch is None else f"{form},batch={batch}")
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1).repeat(3, 3)
    sizes: list[int] = []

    def first_numbers(fed: np.ndarray) -> np.ndarray:
        sizes.append(len(fed))
        return fed.reshape(len(fed), 3).astype(np.float32)[:, :1]

    found = interface.feed(images, first_numbers)
    wanted = interface.prepare(images).reshape(count, 3).astype(np.float32)[:, :1]
    np.testing.assert_array_equal(found, wanted)
    assert sizes == ([count] if batch is None else [batch] * -(-count // batch))
    assert len(interface.one_batch(images)) == (batch or count)
