#!/usr/bin/env bash
# Runs a command as on an x86 CPU with AVX2 and without AVX-512 and VNNI, at the speed of this CPU:
#
#   [VENV=.venv] tests/avx2/run.sh .venv/bin/pytest
#
# ONNX Runtime and OpenVINO have no switch for all of their kernels: copies of them ask cpuid.c instead of the CPU.
# torch has one. /proc/cpuinfo, where efq.runtime.machine.cpu looks, is covered for this command only.
# The copies take 260 MB in $VENV/avx2 and a minute to make.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$(realpath "${VENV:-.venv}")
folder=$venv/avx2

refuse() {
    echo "error: $1" >&2
    exit 4
}
for tool in gcc objdump unshare; do
    command -v "$tool" >/dev/null || refuse "expected $tool, found none: install gcc, binutils and util-linux"
done
unshare --map-root-user --mount true || refuse "expected to be allowed a mount namespace of its own (unshare --mount)"
case $folder in *[[:space:]:]*) refuse "expected a path without spaces and colons to preload from, found $folder" ;; esac

made_of=$(
    "$venv/bin/python" -m pip list --format freeze --disable-pip-version-check | grep -E '^(onnxruntime|openvino)[=-]' ||
        refuse "expected ONNX Runtime in $venv, found none"
    sha256sum <"$here/cpuid.c"
    sha256sum <"$here/replace_cpuid.py"
)
if [ "$(cat "$folder/made-of" 2>/dev/null)" != "$made_of" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    libraries=(onnxruntime/capi/onnxruntime_pybind11_state)
    cp -r "$("$venv/bin/python" -c 'import onnxruntime; print(onnxruntime.__path__[0])')" "$folder"
    if grep -q '^openvino=' <<<"$made_of"; then
        libraries+=(openvino/libs/libopenvino. openvino/libs/libopenvino_intel_cpu_plugin)
        cp -r "$("$venv/bin/python" -c 'import openvino; print(openvino.__path__[0])')" "$folder"
    fi
    for library in "${libraries[@]}"; do
        found=("$folder/$library"*so*)
        [ -f "${found[0]}" ] || refuse "expected a library at $library*, found none: this version is not known here"
        "$venv/bin/python" "$here/replace_cpuid.py" "${found[0]}" >&2
    done
    gcc -O2 -Wall -shared -fPIC -o "$folder/cpuid.so" "$here/cpuid.c"
    echo "$made_of" >"$folder/made-of"
fi
cpuinfo=$(mktemp)
trap 'rm -f "$cpuinfo"' EXIT
sed -E '/^flags/s/ (avx512[a-z0-9_]*|avx_vnni[a-z0-9_]*|amx_[a-z0-9]+)//g' /proc/cpuinfo >"$cpuinfo"
export PYTHONPATH="$folder${PYTHONPATH:+:$PYTHONPATH}"
export ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 EFQ_AVX2=$folder
unshare --map-root-user --mount bash -c \
    'mount --bind "$1" /proc/cpuinfo && export LD_PRELOAD="$EFQ_AVX2/cpuid.so" && exec "${@:2}"' _ "$cpuinfo" "$@"
