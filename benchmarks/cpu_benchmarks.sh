#!/usr/bin/env bash
# Writes docs/benchmarks.md and docs/benchmarks/: every network against everything a user could pick, on this CPU.
# Takes about an hour on two cores with SECONDS_EACH=12, and the machine has to be quiet.
#
#   [SECONDS_EACH=45] [NETWORKS="iresnet50"] EFQ_FACES=FACES benchmarks/cpu_benchmarks.sh STUDENTS WORK
#
# FACES: faces as in docs/data.md with weights/mobilefacenet_y1.pt, splits/train.txt and splits/dev.txt.
# STUDENTS: prelu.pt, mixed.pt, relu.pt, narrow.pt, pruned.pt, w4a8.pt, w6a6.pt and w4a4.pt, trained as docs/results.md
# says, relu and narrow with the metric loss.
# WORK: a folder for artifacts. SECONDS_EACH: how long each batch size and number of threads is timed.
# NETWORKS: those to measure, mobilefacenet and IResNets, all unless given; the others keep their last figures.
set -euo pipefail

students=$(realpath "$1")
mkdir -p "$2"
work=$(realpath "$2")
cd "$(dirname "$0")/.."
bin=${BIN:-.venv/bin}
teacher=$EFQ_FACES/weights/mobilefacenet_y1.pt
pages=docs/benchmarks

mobilefacenet() {
    local artifacts=() recipe name
    for recipe in prelu:8 mixed:8 relu:8 narrow:8 w4a8:4 pruned:8 w6a6:6 w4a4:4; do
        name=${recipe%:*}
        "$bin/efq-export" "$students/$name.pt" --bits "${recipe#*:}" --name "$name" -o "$work/$name" --force
        artifacts+=("$work/$name")
        case $name in pruned | w6a6 | w4a4) continue ;; esac
        "$bin/efq-export" "$students/$name.pt" --bits "${recipe#*:}" --target openvino --name "$name (openvino)" \
            -o "$work/$name-openvino" --force
        artifacts+=("$work/$name-openvino")
    done
    "$bin/efq-bench" "${artifacts[@]}" --teacher "$teacher" --faces "$EFQ_FACES" --list "$EFQ_FACES/splits/dev.txt" \
        --calibration-list "$EFQ_FACES/splits/train.txt" --peers --batch 1,8,64 --threads 1,2 --seconds "${SECONDS_EACH:-45}" \
        --title "MobileFaceNet (InsightFace's y1, PReLU), real faces" -o "$pages/mobilefacenet" --force
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

for network in ${NETWORKS:-mobilefacenet iresnet18 iresnet50 iresnet100}; do
    case $network in
        iresnet*) iresnet "$network" ;;
        mobilefacenet) mobilefacenet ;;
        *) echo "expected mobilefacenet, iresnet18, iresnet50 or iresnet100 in NETWORKS, found $network" >&2 && exit 2 ;;
    esac
done

{
    echo "# Benchmarks"
    echo
    echo "Written by \`benchmarks/cpu_benchmarks.sh\`. How a time is taken, what it goes to and what was tried:"
    echo "[performance.md](performance.md). Students are those of [results.md](results.md), \`relu\` and \`narrow\` with the"
    echo "metric loss."
    for network in mobilefacenet iresnet18 iresnet50 iresnet100; do
        echo
        sed -e "s#^\#\( \|\#\)#\#\#\1#" -e "s#](plots/#](benchmarks/$network/plots/#" "$pages/$network/report.md"
    done
} >docs/benchmarks.md
