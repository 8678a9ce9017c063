"""The named networks, a file an architecture; importing this package registers them."""

from __future__ import annotations

from efq.toolchain.backbones.networks import (  # noqa: F401
    facenet,
    ghostnet,
    ir,
    iresnet,
    lightcnn,
    mixfacenet,
    mobilefacenet,
    mobilefacenet_treb1en,
    mobilefacenet_variants,
    pocketnet,
    shufflefacenet,
    sphereface,
)
