"""Commands whose streams are closed, full, without a reader or of another encoding: `python tests/scripts/streams.py`.

Each runs in a new interpreter, over a folder with a name that is not ASCII. The result has to be written and whole, the
exit code 0, or 1 where what is printed to stdout is lost, and nothing is to be on stderr that is no line of the
command. What does not hold is printed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from tiny_commands import DEADLINE, Command, commands, make_inputs

SCRIPTS = Path(__file__).parent
PRINTING = set(commands()) - {"distill"}
ASCII = {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "stderr closed": ('"$@" 2>&-', {}),
    "stderr full": ('"$@" 2>/dev/full', {}),
    "stdout closed": ('"$@" >&-', {}),
    "stdout full": ('"$@" >/dev/full', {}),
    "stdout without a reader": ('set -o pipefail; "$@" | true', {}),
    "stdin closed": ('"$@" <&-', {}),
    "all closed": ('"$@" <&- >&- 2>&-', {}),
    "all full": ('"$@" >/dev/full 2>/dev/full', {}),
    "ASCII": ('"$@"', ASCII),
}


def problems_of(name: str, command: Command, case: str, folder: Path) -> list[str]:
    """Run it so in `folder`; what did not hold."""
    script, environment = CASES[case]
    output = (command.option, command.output) if command.output else ()
    words = [sys.executable, str(SCRIPTS / "tiny_commands.py"), command.module, *command.arguments, *output]
    places = {"TMPDIR": str(folder.parent), "EFQ_CACHE": str(folder / "cache"), "EFQ_FACES": ""}
    found = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        cwd=folder,
        env=os.environ | places | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    errors = found.stderr.decode(errors="replace")
    problems = []
    expected = int("full" in case and not case.startswith("stderr") and name in PRINTING)
    if found.returncode != expected:
        problems.append(f"exit code {found.returncode} instead of {expected}: {errors[-500:]}")
    if any(word in errors for word in ("Traceback", "Exception ignored", "lost sys.std")):
        problems.append(f"a traceback: {errors[-1500:]}")
    if case == "stdout full" and expected and "stdout" not in errors:
        problems.append(f"without a word of what is lost: {errors[-500:]}")
    if command.output:
        try:
            command.check(folder / command.output)
        except Exception as error:
            problems.append(f"the output is not whole: {error!r}")
    return problems


def main() -> None:
    """Count; exit 1 for a hole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", choices=[*commands(), "all"], nargs="+", default=["all"])
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(CASES))
    arguments = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="efq-streams-") as temporary:
        inputs, folder = Path(temporary) / "inputs", Path(temporary) / "Ünï"
        inputs.mkdir()
        make_inputs(inputs)
        for name in commands() if "all" in arguments.command else arguments.command:
            for case in arguments.case:
                shutil.copytree(inputs, folder)
                problems = problems_of(name, commands()[name], case, folder)
                for problem in problems:
                    print(f"{name}, {case}: {problem}", flush=True)
                counts["HOLE" if problems else "held"] += 1
                shutil.rmtree(folder)
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    sys.exit("HOLE" in counts)


if __name__ == "__main__":
    main()
