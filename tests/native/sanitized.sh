#!/bin/sh
# Run a command with EFQ's kernels built for AddressSanitizer and UndefinedBehaviorSanitizer, which end it at the first
# byte out of bounds or undefined step:
#
#     tests/native/sanitized.sh python -m pytest -q tests/unit/test_native_kernels.py
#     tests/native/sanitized.sh python tests/scripts/fuzz_native.py --count 500
#     SANITIZERS=thread tests/native/sanitized.sh python -m pytest -q tests/unit/test_native_kernels.py -k threads
#
# SANITIZERS=thread builds them for ThreadSanitizer instead, which ends it at the first data race.
#
# They are built into a copy of runtime/, in a folder of its own that goes at the end. Needs g++ with its sanitizers.
set -eu
sanitizers=${SANITIZERS:-address,undefined}
case $sanitizers in thread) library=libtsan.so ;; *) library=libasan.so ;; esac
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/efq"
cp -r "$root/runtime" "$copy/efq/runtime"
for part in toolchain export benchmarks; do ln -s "$root/$part" "$copy/efq/$part"; done
rm -f "$copy"/efq/runtime/native/kernels.*
suffix=$(python -c "import importlib.machinery; print(importlib.machinery.EXTENSION_SUFFIXES[0])")
g++ -std=c++17 -O1 -g -pthread -fPIC -shared -ffp-contract=off -fno-omit-frame-pointer -Wall -Wextra \
    "-fsanitize=$sanitizers" -fno-sanitize-recover=all \
    -o "$copy/efq/runtime/native/kernels$suffix" "$root"/runtime/native/source/*.cpp
cd "$root"
# Python keeps what it allocates to the end.
ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=halt_on_error=1 \
    LD_PRELOAD="$(g++ -print-file-name=$library) $(g++ -print-file-name=libstdc++.so)" \
    PYTHONPATH="$copy:$root/tests" "$@"
