"""THE table of servers that an artifact is laid out for."""

from __future__ import annotations

from efq.export.serving.kind import ARCFACE, RAW, ServingKind, ServingOptions, check_name
from efq.runtime.errors import UsageError
from efq.runtime.faces.interface import Interface

_ROWS = (
    ServingKind(
        name="triton",
        title="Triton Inference Server",
        folder="a model repository",
        writer="efq.export.serving.triton:write_triton",
        options=frozenset({"others"}),
    ),
    ServingKind(
        name="model-server",
        title="OpenVINO Model Server",
        folder="a model repository",
        writer="efq.export.serving.model_server:write_model_server",
    ),
    ServingKind(
        name="insightface",
        title="InsightFace's package",
        folder="its folder of models (~/.insightface/models)",
        writer="efq.export.serving.insightface:write_insightface",
        interface=ARCFACE,
        options=frozenset({"detector"}),
    ),
    ServingKind(
        name="insightface-server",
        title="InsightFace Server",
        folder="its folder of models (/models)",
        writer="efq.export.serving.insightface_server:write_insightface_server",
        interface=ARCFACE,
        options=frozenset({"detector"}),
    ),
    ServingKind(
        name="opencv",
        title="OpenCV's FaceRecognizerSF",
        folder="any folder",
        writer="efq.export.serving.opencv:write_opencv",
        interface=RAW,
    ),
    ServingKind(
        name="immich",
        title="Immich",
        folder="its cache of models (/cache)",
        writer="efq.export.serving.immich:write_immich",
        interface=ARCFACE,
        options=frozenset({"detector"}),
    ),
)

KINDS: dict[str, ServingKind] = {kind.name: kind for kind in _ROWS}


def check_options(kinds: tuple[ServingKind, ...], options: ServingOptions) -> None:
    """Raises UsageError for an option that none of the servers takes, or a name that none can have."""
    if options.name is not None:
        check_name(options.name)
    for field, option in (("detector", "--detector"), ("others", "--plan")):
        if getattr(options, field) and not any(field in kind.options for kind in kinds):
            takers = ", ".join(f"--{kind.name}" for kind in KINDS.values() if field in kind.options)
            message = f"expected {option} with {takers}, which take it: leave it out"
            raise UsageError(message)


def interface_of(kinds: tuple[ServingKind, ...]) -> Interface | None:
    """The surface that the servers feed, None where they take any. Raises UsageError where two want different ones."""
    wanted = {kind.interface: kind for kind in kinds if kind.interface is not None}
    if len(wanted) > 1:
        described = " and ".join(f"{kind.title} {interface}" for interface, kind in wanted.items())
        message = f"expected servers that feed one interface, found {described}: write an artifact for each"
        raise UsageError(message)
    return next(iter(wanted), None)
