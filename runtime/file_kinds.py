"""What a file is by its first bytes, whatever it is called: for messages that say what was found."""

from __future__ import annotations

import dataclasses
import re

FIRST_BYTES = 512  # as many as `kind_of_bytes` looks at


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FileKind:
    """A format: `name` to compare with, `found` for messages, and what to do with such a file, where that is known."""

    name: str
    found: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        """What was found and what to do, to end a message with."""
        return f"{self.found}; {self.advice}" if self.advice else self.found


JPEG = FileKind(name="jpeg", found="a JPEG image")
PNG = FileKind(name="png", found="a PNG image")
WEBP = FileKind(name="webp", found="a WebP image")
BMP = FileKind(name="bmp", found="a BMP image")
TIFF = FileKind(name="tiff", found="a TIFF image")
GIF = FileKind(name="gif", found="a GIF image", advice="convert it to PNG")
HEIC = FileKind(name="heic", found="a HEIC image, as phones write", advice="convert it to JPEG or PNG")
AVIF = FileKind(name="avif", found="an AVIF image", advice="convert it to JPEG or PNG")
JPEG_XL = FileKind(name="jpeg-xl", found="a JPEG XL image", advice="convert it to JPEG or PNG")
JPEG_2000 = FileKind(name="jpeg-2000", found="a JPEG 2000 image", advice="convert it to PNG")
PHOTOSHOP = FileKind(name="photoshop", found="a Photoshop document", advice="convert it to PNG")
VIDEO = FileKind(name="video", found="a film", advice="extract its frames")
PDF = FileKind(name="pdf", found="a PDF document")
ZIP = FileKind(name="zip", found="a zip archive")
PICKLE = FileKind(name="pickle", found="a pickle, which is never opened")
ONNX = FileKind(name="onnx", found="an ONNX model")
HDF5 = FileKind(
    name="hdf5",
    found="an HDF5 file, as Keras writes (.h5)",
    advice="export the network to ONNX: m = keras.models.load_model(file); m.export('model.onnx', format='onnx')",
)
TFLITE = FileKind(
    name="tflite",
    found="a TensorFlow Lite model",
    advice="export the network to ONNX: python -m tf2onnx.convert --tflite FILE --output model.onnx",
)
TENSORFLOW = FileKind(
    name="tensorflow",
    found="a TensorFlow graph (.pb)",
    advice="export the network to ONNX: python -m tf2onnx.convert --graphdef FILE --inputs A:0 --outputs B:0 "
    "--output model.onnx",
)
COREML = FileKind(name="coreml", found="a Core ML model", advice="export the network it was made of to ONNX")
OPENVINO_IR = FileKind(
    name="openvino", found="an OpenVINO model (.xml)", advice="give the ONNX file or the checkpoint it was made of"
)
ORT_FORMAT = FileKind(name="ort", found="a model in ONNX Runtime's own format (.ort)", advice="give its ONNX file")
NCNN = FileKind(name="ncnn", found="an ncnn model (.param)", advice="give the ONNX file it was made of")
RKNN = FileKind(name="rknn", found="a Rockchip model (.rknn)", advice="give the ONNX file it was made of")
PADDLE = FileKind(
    name="paddle",
    found="Paddle parameters",
    advice="export the network to ONNX: paddle2onnx --model_dir DIR --model_filename F.pdmodel --params_filename "
    "F.pdiparams --save_file model.onnx",
)
SAFETENSORS = FileKind(name="safetensors", found="a safetensors file")
NUMPY = FileKind(name="numpy", found="a numpy array (.npy)")
GZIP = FileKind(name="gzip", found="a gzip archive", advice="unpack it")
SEVEN_ZIP = FileKind(name="7z", found="a 7z archive", advice="unpack it")
RAR = FileKind(name="rar", found="a RAR archive", advice="unpack it")
XZ = FileKind(name="xz", found="an xz archive", advice="unpack it")
BZIP2 = FileKind(name="bzip2", found="a bzip2 archive", advice="unpack it")
ZSTANDARD = FileKind(name="zstd", found="a Zstandard archive", advice="unpack it")
TAR = FileKind(name="tar", found="a tar archive", advice="unpack it")
RECORDIO = FileKind(name="recordio", found="a RecordIO file of MXNet (.rec)", advice="give it as --faces")
LFS_POINTER = FileKind(name="lfs", found="a Git LFS pointer, not the file", advice="fetch the file with: git lfs pull")
HTML = FileKind(name="html", found="an HTML page, as a failed download leaves", advice="download the file again")
XML = FileKind(name="xml", found="an XML document")
ENGINE = FileKind(
    name="tensorrt", found="a TensorRT engine", advice="give the ONNX file or the checkpoint it was built of"
)
MXNET = FileKind(
    name="mxnet",
    found="MXNet parameters",
    advice="export the network to ONNX: mxnet.onnx.export_model('F-symbol.json', 'F-0000.params', [(1, 3, 112, 112)])",
)
EXECUTABLE = FileKind(name="executable", found="a program")
EMPTY = FileKind(name="empty", found="an empty file", advice="fetch it again")
ZEROS = FileKind(name="zeros", found="a file that begins with zeros, as a broken copy leaves", advice="fetch it again")

_SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"BM", BMP),
    (0, b"II*\0", TIFF),
    (0, b"MM\0*", TIFF),
    (0, b"GIF8", GIF),
    (0, b"\xff\x0a", JPEG_XL),
    (0, b"\0\0\0\x0cJXL ", JPEG_XL),
    (0, b"\0\0\0\x0cjP  ", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"8BPS", PHOTOSHOP),
    (0, b"\x1a\x45\xdf\xa3", VIDEO),  # Matroska and WebM
    (0, b"%PDF-", PDF),
    (0, b"PK\x03\x04", ZIP),
    (0, b"PK\x05\x06", ZIP),
    (0, b"\x89HDF\r\n\x1a\n", HDF5),
    (4, b"TFL3", TFLITE),
    (4, b"ORTM", ORT_FORMAT),
    (0, b"RKNN", RKNN),
    (0, b"7767517\n", NCNN),
    (0, b"\x93NUMPY", NUMPY),
    (0, b"\x1f\x8b", GZIP),
    (0, b"7z\xbc\xaf\x27\x1c", SEVEN_ZIP),
    (0, b"Rar!\x1a\x07", RAR),
    (0, b"\xfd7zXZ\0", XZ),
    (0, b"BZh", BZIP2),
    (0, b"\x28\xb5\x2f\xfd", ZSTANDARD),
    (257, b"ustar", TAR),
    (0, b"\x0a\x23\xd7\xce", RECORDIO),
    (0, b"version https://git-lfs", LFS_POINTER),
    (0, b"\x12\x01\0\0\0\0\0\0", MXNET),
    (0, b"ftrt", ENGINE),
    (0, b"ptrt", ENGINE),
    (0, b"\x7fELF", EXECUTABLE),
    (0, b"MZ", EXECUTABLE),
)
_BRANDS = {  # ISO/IEC 14496-12: the major brand of a file that begins with a box "ftyp"
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), HEIC),
    **dict.fromkeys((b"avif", b"avis"), AVIF),
}
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
# ModelProto: ir_version 1 to 63, then a producer (2), an opset (8), a graph (7) or a later field.
_ONNX = re.compile(rb"\x08[\x01-\x3f][\x12\x1a\x22\x28\x32\x3a\x42\x72]")
# Model: specificationVersion (1), then a description (2) that begins with a message; a producer's name does not.
_COREML = re.compile(rb"\x08[\x01-\x0f]\x12(?:[\x01-\x7f]|[\x80-\xff]{1,3}[\x01-\x7f])\x0a", re.DOTALL)
# GraphDef: a node (1) whose name (1) is followed by its operation (2).
_TENSORFLOW = re.compile(rb"\x0a[\x04-\xff]{1,4}?\x0a[\x01-\x7f][\w./-]+\x12[\x01-\x40][A-Z]\w+", re.DOTALL)
# A tensor: versions and levels of detail of 0, the length of its description, that with a type (1) and sizes (2).
_PADDLE = re.compile(rb"\0{16}[\x04-\x7f]\0{3}\x08[\0-\x20]\x10")
_SAFETENSORS = re.compile(rb".{8}\{[ \n]*\"", re.DOTALL)
_PATTERNS = (
    (_PICKLE, PICKLE),
    (_COREML, COREML),
    (_ONNX, ONNX),
    (_TENSORFLOW, TENSORFLOW),
    (_PADDLE, PADDLE),
    (_SAFETENSORS, SAFETENSORS),
)


def kind_of_bytes(start: bytes) -> FileKind | None:
    """The format of a file that begins with `start` (`FIRST_BYTES` of it or more); None for one that is not known."""
    if not start:
        return EMPTY
    for offset, signature, kind in _SIGNATURES:
        if start.startswith(signature, offset):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WEBP
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], VIDEO)
    for pattern, kind in _PATTERNS:
        if pattern.match(start):
            return kind
    head = start[:FIRST_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return HTML
    if head.startswith(b"<?xml"):
        return OPENVINO_IR if b"<net " in head else XML
    return ZEROS if not start[:FIRST_BYTES].strip(b"\0") else None
