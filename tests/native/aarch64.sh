#!/bin/sh
# Run a command with EFQ's kernels built for ARM (aarch64), in an emulator:
#
#     tests/native/aarch64.sh python -m pytest -q tests/unit/test_native_kernels.py
#     QEMU_CPU=cortex-a76 tests/native/aarch64.sh python -c \
#         "from efq.runtime.native.library import instruction_sets; print(instruction_sets())"
#
# QEMU_CPU: max (the default) has dotprod and i8mm, cortex-a76 dotprod alone, cortex-a72 neither. Only the kernels are
# emulated: Python loads a library that sends each of its calls to them (forwarding.cpp, emulated.cpp). Needs g++,
# g++-aarch64-linux-gnu and qemu-user. Bytes are what it shows; times say nothing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/native
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/efq"
cp -r "$root/runtime" "$copy/efq/runtime"
for part in toolchain export benchmarks; do ln -s "$root/$part" "$copy/efq/$part"; done
rm -f "$copy"/efq/runtime/native/kernels.*
suffix=$(python -c "import importlib.machinery; print(importlib.machinery.EXTENSION_SUFFIXES[0])")
aarch64-linux-gnu-g++ -std=c++17 -O3 -ffp-contract=off -pthread -static -Wall -Wextra \
    -o "$copy/kernels" "$here/emulated.cpp" "$root"/runtime/native/source/*.cpp
g++ -std=c++17 -O1 -fPIC -shared -fvisibility=hidden -Wall -Wextra \
    -o "$copy/efq/runtime/native/kernels$suffix" "$here/forwarding.cpp"
cd "$root"
EFQ_EMULATED="exec qemu-aarch64 '$copy/kernels'" QEMU_CPU="${QEMU_CPU:-max}" PYTHONPATH="$copy:$root/tests" "$@"
