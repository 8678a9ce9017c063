#!/usr/bin/env bash
# Writes docs/benchmarks.md and docs/benchmarks/: every network against everything a user could pick, on this CPU.
# Takes about an hour on two cores with SECONDS_EACH=12, and the machine has to be quiet.
#
#   [SECONDS_EACH=45] [NETWORKS="iresnet50"] EFQ_FACES=FACES benchmarks/cpu_benchmarks.sh STUDENTS WORK
#
# FACES: faces as in docs/data.md with weights/mobilefacenet_y1.pt, splits/train.txt and splits/dev.txt.
# STUDENTS: prelu.pt, mixed.pt, relu.pt, narrow.pt, pruned.pt, w4a8.pt, w6a6.pt and w4a4.pt, trained as docs/results.md
# says, relu and narrow with the metric loss, and prelu-full.pt, with --full-range; those that are missing are left out.
# WORK: a folder for artifacts. SECONDS_EACH: how long each batch size and number of threads is timed.
# NETWORKS: those to measure, mobilefacenet, mobilefacenet-avx2 (as on a CPU without VNNI) and IResNets, all unless
# given; the others keep their last figures.
set -euo pipefail

students=$(realpath "$1")
mkdir -p "$2"
work=$(realpath "$2")
cd "$(dirname "$0")/.."
export VENV=${VENV:-.venv}
bin=$VENV/bin
teacher=$EFQ_FACES/weights/mobilefacenet_y1.pt
pages=docs/benchmarks

export_mobilefacenets() {
    local recipe name options
    artifacts=()
    for recipe in prelu:8 prelu-full:8 mixed:8 relu:8 narrow:8 w4a8:4 pruned:8 w6a6:6 w4a4:4; do
        name=${recipe%:*}
        if [ ! -f "$students/$name.pt" ]; then
            echo "no $students/$name.pt: left out" >&2
            continue
        fi
        options=(--bits "${recipe#*:}" --force)
        case $name in
            *-full) options+=(--full-range --name "${name%-full}, 8-bit weights") ;;
            *) options+=(--name "$name") ;;
        esac
        "$bin/efq-export" "$students/$name.pt" "${options[@]}" -o "$work/$name"
        artifacts+=("$work/$name")
        case $name in *-full | pruned | w6a6 | w4a4) continue ;; esac
        "$bin/efq-export" "$students/$name.pt" --bits "${recipe#*:}" --target openvino --name "$name (openvino)" \
            -o "$work/$name-openvino" --force
        artifacts+=("$work/$name-openvino")
    done
}

# mobilefacenet FOLDER TITLE BATCHES COMMAND...
mobilefacenet() {
    local folder=$1 title=$2 batches=$3
    shift 3
    export_mobilefacenets
    "$@" "$bin/efq-bench" "${artifacts[@]}" --teacher "$teacher" --faces "$EFQ_FACES" --list "$EFQ_FACES/splits/dev.txt" \
        --calibration-list "$EFQ_FACES/splits/train.txt" --peers --batch "$batches" --threads 1,2 \
        --seconds "${SECONDS_EACH:-45}" --title "$title" -o "$pages/$folder" --force
}

# IResNets have random weights: times depend on them through PReLU's branches only, accuracy is not measured.
iresnet() {
    local network=$1 checkpoint=$work/$1.pt artifacts=() recipe
    "$bin/python" - "$network" "$checkpoint" <<'PYTHON'
import sys
import torch
from efq.toolchain.backbones import find_backbone
torch.manual_seed(0)
torch.save(find_backbone(sys.argv[1]).build().state_dict(), sys.argv[2])
PYTHON
    for recipe in prelu mixed relu; do
        head -n 16 "$EFQ_FACES/splits/train.txt" >"$work/calibration.txt"
        "$bin/efq-export" "$checkpoint" --calibrate "$EFQ_FACES" --list "$work/calibration.txt" --recipe "$recipe" \
            --name "$recipe" -o "$work/$network-$recipe" --force
        artifacts+=("$work/$network-$recipe")
    done
    "$bin/efq-export" "$checkpoint" --calibrate "$EFQ_FACES" --list "$work/calibration.txt" --recipe relu \
        --target openvino --name "relu (openvino)" -o "$work/$network-relu-openvino" --force
    artifacts+=("$work/$network-relu-openvino")
    "$bin/efq-bench" "${artifacts[@]}" --teacher "$checkpoint" --peers --batch 1,8 --threads 1,2 --rounds 40 \
        --seconds "${SECONDS_EACH:-45}" --title "${network/iresnet/IResNet-}, random weights" -o "$pages/$network" --force
}

title="MobileFaceNet (InsightFace's y1, PReLU), real faces"
networks="mobilefacenet mobilefacenet-avx2 iresnet18 iresnet50 iresnet100"
for network in ${NETWORKS:-$networks}; do
    case $network in
        iresnet*) iresnet "$network" ;;
        mobilefacenet) mobilefacenet "$network" "$title" 1,8,64 env ;;
        mobilefacenet-avx2) mobilefacenet "$network" "$title, as on a CPU without VNNI" 1,8 tests/avx2/run.sh ;;
        *) echo "expected some of $networks in NETWORKS, found $network" >&2 && exit 2 ;;
    esac
done

{
    echo "# Benchmarks"
    echo
    echo "Written by \`benchmarks/cpu_benchmarks.sh\`. Speed by class of CPU: [performance.md](performance.md); where a time goes:"
    echo "[cpu-time.md](lab/cpu-time.md). Students are those of [results.md](results.md), \`relu\` and \`narrow\` with the"
    echo "metric loss. Each section names its CPU and the CPU's class: figures of one say little of another. \"As on a CPU"
    echo "without VNNI\": the AVX2 kernels of ONNX Runtime and OpenVINO on this CPU (\`tests/avx2/run.sh\`)."
    for network in $networks; do
        [ -f "$pages/$network/report.md" ] || continue
        echo
        sed -e "s#^\#\( \|\#\)#\#\#\1#" -e "s#](plots/#](benchmarks/$network/plots/#" "$pages/$network/report.md"
    done
} >docs/benchmarks.md
