#!/usr/bin/env bash
# Runs a command as on an x86 CPU with AVX2 and without AVX-512 and VNNI, at the speed of this CPU:
#
#   [VENV=.venv] tests/avx2/run.sh .venv/bin/pytest
#
# ONNX Runtime and OpenVINO have no switch for all of their kernels: copies of them ask cpuid.c instead of the CPU.
# torch has one. /proc/cpuinfo, where efq.runtime.cpu looks, is covered for this command only.
# Needs gcc, objdump (binutils) and unshare (util-linux); the copies take 260 MB in $VENV/avx2 and a minute to make.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$(realpath "${VENV:-.venv}")
folder=$venv/avx2
installed=$("$venv/bin/python" -m pip list --format freeze --disable-pip-version-check | grep -E '^(onnxruntime|openvino)==')
if [ "$(cat "$folder/made-of" 2>/dev/null)" != "$installed" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    for package in $(sed 's/==.*//' <<<"$installed"); do
        cp -r "$("$venv/bin/python" -c "import $package; print($package.__path__[0])")" "$folder"
    done
    shopt -s nullglob
    for library in "$folder"/onnxruntime/capi/onnxruntime_pybind11_state*.so "$folder"/openvino/libs/libopenvino.so.* \
        "$folder"/openvino/libs/libopenvino_intel_cpu_plugin*.so; do
        "$venv/bin/python" "$here/replace_cpuid.py" "$library" >&2
    done
    gcc -O2 -Wall -shared -fPIC -o "$folder/cpuid.so" "$here/cpuid.c"
    echo "$installed" >"$folder/made-of"
fi
sed -E '/^flags/s/ (avx512[a-z0-9_]*|avx_vnni[a-z0-9_]*|amx_[a-z0-9]+)//g' /proc/cpuinfo >"$folder/cpuinfo"
export PYTHONPATH="$folder${PYTHONPATH:+:$PYTHONPATH}"
export ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 EFQ_AVX2=$folder
exec unshare --map-root-user --mount bash -c \
    'mount --bind "$EFQ_AVX2/cpuinfo" /proc/cpuinfo && export LD_PRELOAD="$EFQ_AVX2/cpuid.so" && exec "$@"' _ "$@"
