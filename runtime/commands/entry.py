"""Where the commands start: what must be so at any moment is, before anything that takes time is imported."""

from __future__ import annotations

from efq.runtime.commands import signals

signals.end_this_process()  # these modules are imported by commands alone, and what follows takes time


def run(module: str) -> None:
    """Import `module` and run its click command `main`; ends the process with its exit code."""
    import importlib
    import sys

    from efq.runtime.commands import streams

    streams.keep_writable()
    try:
        importlib.import_module(module).main()
        code: str | int | None = 0
    except SystemExit as error:
        code = error.code
    finally:
        signals.ignore()  # what was to be done is done
    sys.exit(streams.finish(code))


def distill() -> None:
    """efq-distill."""
    run("efq.toolchain.distill_command")


def evaluate() -> None:
    """efq-evaluate."""
    run("efq.toolchain.evaluate_command")


def export() -> None:
    """efq-export."""
    run("efq.export.export_command")


def inspect() -> None:
    """efq-inspect."""
    run("efq.export.inspect_command")


def align() -> None:
    """efq-align."""
    run("efq.runtime.detection.align_command")


def index() -> None:
    """efq-index."""
    run("efq.runtime.gallery.index_command")


def serve() -> None:
    """efq-serve."""
    run("efq.runtime.service.serve_command")


def embed() -> None:
    """efq-embed."""
    run("efq.runtime.embed_command")


def gallery() -> None:
    """efq-gallery."""
    run("efq.runtime.gallery.stores.gallery_command")


def migrate() -> None:
    """efq-migrate."""
    run("efq.toolchain.migrate_command")


def doctor() -> None:
    """efq-doctor."""
    run("efq.runtime.doctor_command")


def bench() -> None:
    """efq-bench."""
    run("efq.benchmarks.bench_command")


def demo() -> None:
    """efq-demo."""
    run("efq.benchmarks.demo_command")
