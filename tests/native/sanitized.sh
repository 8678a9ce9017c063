#!/bin/sh
# Run a command with EFQ's C++ built for AddressSanitizer and UndefinedBehaviorSanitizer, which end it at the first byte
# out of bounds or undefined step:
#
#     tests/native/sanitized.sh python -m pytest -q tests/unit/test_native_kernels.py
#     tests/native/sanitized.sh python tests/scripts/fuzz_native.py --count 500
#     tests/native/sanitized.sh python tests/scripts/fuzz_jpeg_walks.py --count 3000
#     SANITIZERS=thread tests/native/sanitized.sh python -m pytest -q tests/unit/test_native_kernels.py -k threads
#
# SANITIZERS=thread builds it for ThreadSanitizer instead, which ends the command at the first data race.
#
# It is built into a copy of runtime/, in a folder of its own that goes at the end. Needs g++ with its sanitizers.
set -eu
sanitizers=${SANITIZERS:-address,undefined}
case $sanitizers in thread) library=libtsan.so ;; *) library=libasan.so ;; esac
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/efq"
cp -r "$root/runtime" "$copy/efq/runtime"
for part in toolchain export benchmarks; do ln -s "$root/$part" "$copy/efq/$part"; done
rm -f "$copy"/efq/runtime/native/*.so "$copy"/efq/runtime/faces/formats/*.so
suffix=$(python -c "import importlib.machinery; print(importlib.machinery.EXTENSION_SUFFIXES[0])")
build() {
    g++ -std=c++17 -O1 -g -pthread -fPIC -shared -ffp-contract=off -fno-omit-frame-pointer -Wall -Wextra \
        "-fsanitize=$sanitizers" -fno-sanitize-recover=all -o "$copy/efq/runtime/$1$suffix" "$root/runtime/$2"/*.cpp
}
build native/kernels native/source
build faces/formats/scan_walks faces/formats/source
cd "$root"
# Python keeps what it allocates to the end.
ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=halt_on_error=1 \
    LD_PRELOAD="$(g++ -print-file-name=$library) $(g++ -print-file-name=libstdc++.so)" \
    PYTHONPATH="$copy:$root/tests" "$@"
