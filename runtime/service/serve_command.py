"""efq-serve: embeddings, verification and search over HTTP."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.runtime.service.serve_command")

import logging
import os
import sys
from pathlib import Path

import click

from efq.runtime.commands.options import DEVICE, PATH, TEXT, THREADS, FiniteFloat, refuse_unused
from efq.runtime.console import efq_command
from efq.runtime.detection.detector import SIZES
from efq.runtime.errors import UsageError
from efq.runtime.gallery.stores.store import TEMPLATES, Template
from efq.runtime.service.process.access import KEY_VARIABLE, api_keys, hosts_to_answer, is_loopback
from efq.runtime.service.process.packages import check_packages
from efq.runtime.service.settings import Limits, ServiceSettings

_LIMITS = Limits()
_MEGA = 1_000_000


@click.command("efq-serve")
@click.argument("directory", type=PATH)
@click.option(
    "--gallery",
    type=TEXT,
    help="Enrolled people: a file, postgresql://... or qdrant://...; made where there is none. Without it the service "
    "embeds and compares.",
)
@click.option(
    "--template",
    type=click.Choice(TEMPLATES),
    help="What a probe is compared with, of a person of several faces.  [default: the gallery's, or best]",
)
@click.option("--detector", type=PATH, help="Face detector, SCRFD or YuNet (ONNX), for photos without landmarks.")
@click.option(
    "--detector-size",
    type=click.IntRange(SIZES[0], SIZES[-1]),
    help="Side that photos are fitted into: more finds smaller faces.  [default: 640, or the detector's]",
)
@click.option(
    "--fmr",
    type=FiniteFloat(0, 1, min_open=True, max_open=True),
    help="False match rate to decide at where a request says nothing; the artifact's certificate has the thresholds.",
)
@click.option(
    "--threshold", type=FiniteFloat(-1, 1), help="Cosine to decide at where a request says nothing, instead of --fmr."
)
@click.option("--host", type=TEXT, default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8_000, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--api-key-file",
    type=PATH,
    help=f"Keys, one a line, one of which requests need; {KEY_VARIABLE} is another way to give one. Required unless "
    "only this machine reaches the host.",
)
@click.option(
    "--allow-host",
    type=TEXT,
    multiple=True,
    help="Without keys: a name that requests may come for, beside those of this machine. Can be given again.",
)
@click.option("--threads", type=THREADS, help="Threads that compute, each a batch.  [default: every CPU]")
@click.option("--device", type=DEVICE, help="cpu, cuda or cuda:N.  [default: that of the artifact's target]")
@click.option(
    "--backend",
    type=TEXT,
    help="On the CPU: onnxruntime, openvino, native or auto.  [default: the one that the artifact was exported for]",
)
@click.option(
    "--batch", type=click.IntRange(1, 64), default=_LIMITS.batch, show_default=True, help="Most faces computed at once."
)
@click.option(
    "--queue",
    type=click.IntRange(1, 100_000),
    default=_LIMITS.queue,
    show_default=True,
    help="Most faces that wait; beyond it requests are refused (429).",
)
@click.option(
    "--deadline",
    type=FiniteFloat(0.01, 600),
    default=_LIMITS.deadline,
    show_default=True,
    help="Seconds from a request's arrival, after which it is not computed (504).",
)
@click.option(
    "--max-body",
    type=FiniteFloat(0.01, 1_000),
    default=round(_LIMITS.body_bytes / _MEGA, 1),
    show_default=True,
    help="Most megabytes of a request's body.",
)
@click.option(
    "--max-pixels",
    type=FiniteFloat(0.01, 200),
    default=_LIMITS.pixels / _MEGA,
    show_default=True,
    help="Most millions of pixels of an image.",
)
@click.option(
    "--max-images",
    type=click.IntRange(1, 1_000),
    default=_LIMITS.images,
    show_default=True,
    help="Most images of a request.",
)
@click.option(
    "--drain",
    type=FiniteFloat(1, 600),
    default=20.0,
    show_default=True,
    help="Seconds that a service which is to end has for what it has accepted.",
)
@click.option(
    "--drain-delay",
    type=FiniteFloat(0, 600),
    default=0.0,
    show_default=True,
    help="Seconds before that, in which it says that it is not ready and serves.",
)
@click.option("--access-log/--no-access-log", default=True, show_default=True, help="A line for each request.")
@efq_command
def main(
    directory: Path,
    gallery: str | None,
    template: Template | None,
    detector: Path | None,
    detector_size: int | None,
    fmr: float | None,
    threshold: float | None,
    host: str,
    port: int,
    api_key_file: Path | None,
    allow_host: tuple[str, ...],
    threads: int | None,
    device: str | None,
    backend: str | None,
    batch: int,
    queue: int,
    deadline: float,
    max_body: float,
    max_pixels: float,
    max_images: int,
    drain: float,
    drain_delay: float,
    access_log: bool,
) -> None:
    """Serve the artifact in DIRECTORY over HTTP until SIGTERM or Ctrl-C.

    The log goes to stderr, a line of JSON an event; it holds no image, embedding or name.
    """
    if gallery is None:
        refuse_unused(("template",), "without --gallery")
    if detector is None:
        refuse_unused(("detector_size",), "without --detector")
    if fmr is not None:
        refuse_unused(("threshold",), "with --fmr, which has its own")
    check_packages()
    keys = api_keys(api_key_file, os.environ.get(KEY_VARIABLE))
    if keys:
        refuse_unused(("allow_host",), "with keys, which every request needs")
    elif not is_loopback(host):
        message = (
            f"expected keys of the API for --host {host}, which other machines reach, found none: give --api-key-file, "
            f"or set {KEY_VARIABLE}"
        )
        raise UsageError(message)
    settings = ServiceSettings(
        directory=directory,
        gallery=gallery,
        template=template,
        detector=detector,
        detector_size=detector_size,
        fmr=fmr,
        threshold=threshold,
        api_keys=keys,
        hosts=hosts_to_answer(host, allow_host),
        threads=threads,
        device=device,
        backend=backend,
        access_log=access_log,
        limits=Limits(
            body_bytes=round(max_body * _MEGA),
            pixels=round(max_pixels * _MEGA),
            images=max_images,
            deadline=deadline,
            queue=queue,
            batch=batch,
        ),
    )
    _serve(settings, host, port, drain=drain, drain_delay=drain_delay)


def _serve(settings: ServiceSettings, host: str, port: int, *, drain: float, drain_delay: float) -> None:
    from efq.runtime.service.process.memory import give_memory_back, settle

    give_memory_back()

    import cv2

    from efq.runtime.service.app import create_app
    from efq.runtime.service.process.logs import JsonLog, LogHandler
    from efq.runtime.service.process.server import listen, serve

    cv2.setNumThreads(1)  # pictures are decoded by as many threads as there are CPUs
    listening = listen(host, port)
    log = JsonLog(_write)
    handler = LogHandler(log)
    logger = logging.getLogger("efq")
    try:
        app = create_app(settings, log_request=log.request if settings.access_log else None)
        address = _address(host, listening.getsockname()[1])
        _replace_handlers(logger, handler)

        settle()

        def started() -> None:
            log.line("listening", address=address, model=app.state.engine.model.name)
            click.echo(f"serving {app.state.engine.model.name} at {address}")

        serve(app, listening, drain=drain, drain_delay=drain_delay, started=started)
        log.line("ended")
    finally:
        logger.removeHandler(handler)
        log.close()
    if not app.state.closed:
        os._exit(0)  # threads that wait for a database would be waited for


def _replace_handlers(logger: logging.Logger, handler: logging.Handler) -> None:
    """From now on all that is logged is lines of JSON; the command's own handler, which is not, is taken off."""
    for other in list(logger.handlers):
        logger.removeHandler(other)
    logger.addHandler(handler)


def _write(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
