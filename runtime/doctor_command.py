"""efq-doctor: what this machine can run, and what is missing for the rest."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.runtime.doctor_command")

import json

import click

from efq.runtime.commands.options import TEXT
from efq.runtime.console import efq_command
from efq.runtime.doctor import Report, TargetReport, examine
from efq.runtime.machine.cache import LIMIT_VARIABLE, CacheReport


@click.command()
@click.argument("target", required=False, type=TEXT)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@efq_command
def main(target: str | None, as_json: bool) -> None:
    """Say what this machine can run: versions, providers, CPU, GPUs, the cache, and what each target needs.

    With TARGET (ort-cpu, trt, trt-rtx ...) exit code 4 says that it cannot run here.
    """
    report = examine()
    named = None if target is None else report.target(target)
    print(json.dumps(report.to_dict(), indent=2) if as_json else _page(report, named))
    if named is not None:
        named.check()


def _page(report: Report, named: TargetReport | None) -> str:
    lines = ["versions"]
    lines += [f"  {name} {version}" for name, version in report.versions.items()]
    lines += ["ONNX Runtime providers", f"  {', '.join(report.providers) or 'none'}"]
    lines += ["EFQ's own kernels", f"  {', '.join(report.kernels) or 'not built: they need a C++17 compiler'}"]
    walk = "in C++" if report.jpeg_walk else "in Python, ten times as long: not built, it needs a C++17 compiler"
    lines += ["the check of JPEGs", f"  {walk}"]
    isa = "unknown" if report.cpu.isa is None else ", ".join(report.cpu.isa)
    lines += ["CPU", f"  {report.cpu.name}, {report.cpu.cores} logical cores usable, instruction sets: {isa}"]
    lines += [f"  {report.cpu.dot_product_class}", "GPUs"]
    lines += [
        f"  {gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_gib:g} GiB, CUDA {gpu.cuda} "
        f"(through {gpu.package})"
        for gpu in report.gpus
    ] or [f"  none: {report.gpu_problem}"]
    lines += ["cache", f"  {_cache(report.cache)}", "targets"]
    for target in report.targets if named is None else (named,):
        lines.append(f"  {target.target}: {'runs here' if target.runs else 'does not run here'}")
        lines += [f"    {'ok     ' if need.met else 'missing'} {need.what}: {need.detail}" for need in target.needs]
    return "\n".join(lines)


def _cache(cache: CacheReport) -> str:
    if cache.folder is None:
        return f"none: {cache.problem}"
    used = f"{cache.bytes / 2**30:.2f} of at most {cache.limit / 2**30:g} GiB ({LIMIT_VARIABLE})"
    return f"{cache.folder}: {used}" + (f"; nothing is kept: {cache.problem}" if cache.problem else "")
