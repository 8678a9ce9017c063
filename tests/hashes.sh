#!/usr/bin/env bash
# What a change that is to change nothing must leave alone, as lines of SHA-256: the help text of every command, and of
# four recipes for four targets the plan, model.onnx, card, parity.json, manifest, report and embeddings of 64 faces. Run
# it on both commits and compare the outputs; a line that cannot be made ends it:
#   VENV=.venv FACES=folder/of/faces LIST=its/images.txt TEACHER=teacher.pt tests/hashes.sh > after.txt
set -euo pipefail
bin=${VENV:-.venv}/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export COLUMNS=100 EFQ_CACHE=$work/cache

# Reads stdin whole before it is hashed, so that what failed is not the hash of nothing.
line() {
  local text
  text=$(cat)
  [ -n "$text" ] || { echo "nothing was written for: $*" >&2; exit 1; }
  echo "$(sha256sum <<< "$text" | cut -d' ' -f1)  $*"
}
quietly() { "$@" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }; }
plain='
import json, sys
def without_times(value):
    if isinstance(value, dict):
        timed = ("time_share", "seconds", "build_seconds")
        return {key: without_times(found) for key, found in value.items() if key not in timed}
    if isinstance(value, list):
        return sorted(map(without_times, value), key=json.dumps)
    return value.replace(sys.argv[1], "WORK") if isinstance(value, str) else value
print(json.dumps(without_times(json.load(sys.stdin)), sort_keys=True))'
embeddings='
import hashlib, numpy, sys
print(hashlib.sha256(numpy.load(sys.argv[1])["embeddings"].tobytes()).hexdigest())'

for command in distill evaluate export inspect embed doctor bench demo; do
  "$bin/efq-$command" --help > "$work/help"
  line "efq-$command --help" < "$work/help"
done
mapfile -t faces < <(awk -v root="$FACES" '!/^#/ && count++ < 64 {print root "/" $1}' "$LIST")
[ "${#faces[@]}" -eq 64 ]
for recipe in prelu mixed relu w4a8 full-range; do
  bits=8 options=(--recipe "$recipe")
  case $recipe in
    w4a8) bits=4 ;;
    full-range) options=(--recipe prelu --full-range) ;;
  esac
  student=$work/$recipe.pt
  quietly "$bin/efq-distill" "$TEACHER" --faces "$FACES" --list "$LIST" --max-images 512 "${options[@]}" --steps 4 \
    --seed 0 --threads 1 -o "$student"
  quietly "$bin/efq-inspect" "$student" --json | "$bin/python" -c "$plain" "$work" | line "$recipe efq-inspect"
  for target in ort-cpu openvino trt trt-rtx; do
    named="$recipe $target" artifact=$work/$recipe-$target engine=()
    case $target in trt*) engine=(--no-engine) ;; esac
    export=("$bin/efq-export" "$student" --bits "$bits" --target "$target" "${engine[@]}")
    quietly "${export[@]}" --dry-run | line "$named --dry-run"
    quietly "${export[@]}" -o "$artifact" --json | "$bin/python" -c "$plain" "$work" | line "$named --json"
    base64 "$artifact/model.onnx" | line "$named model.onnx"
    line "$named README.md" < "$artifact/README.md"
    "$bin/python" -c "$plain" "$work" < "$artifact/manifest.json" | line "$named manifest.json"
    "$bin/python" -c "$plain" "$work" < "$artifact/parity.json" | line "$named parity.json"
    case $target in trt*) continue ;; esac
    quietly "$bin/efq-embed" "$artifact" "${faces[@]}" --backend "${target/ort-cpu/onnxruntime}" --threads 1 \
      -o "$work/embeddings.npz" > /dev/null
    "$bin/python" -c "$embeddings" "$work/embeddings.npz" | line "$named embeddings"
  done
done
