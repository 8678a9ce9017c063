"""What the target litert needs, for efq-doctor."""

from __future__ import annotations

from efq.runtime.backends.target import Target
from efq.runtime.litert.module import import_litert
from efq.runtime.machine.hardware import Hardware, Need, checked_need


def litert_needs(target: Target, hardware: Hardware) -> tuple[Need, ...]:
    """LiteRT and any CPU: its kernels add products exactly on every one."""
    (package,) = target.packages

    def version() -> str:
        import importlib.metadata  # as in `installed_versions`

        import_litert()
        return importlib.metadata.version(package)

    exact = "weights of 8 bits are computed exactly"
    return (
        checked_need(f"package {package}", version),
        Need(what="CPU", met=True, detail=f"{hardware.cpu.dot_product_class}: {exact}"),
    )
