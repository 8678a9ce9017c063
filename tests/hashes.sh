#!/usr/bin/env bash
# What a change that is to change nothing must leave alone, as SHA-256 lines: the help text of every command, and of
# four recipes for four targets model.onnx, card, manifest and embeddings of 64 faces. Run it on both commits and
# compare the outputs:
#   VENV=.venv FACES=folder/of/faces LIST=its/images.txt TEACHER=teacher.pt tests/hashes.sh > after.txt
set -euo pipefail
bin=${VENV:-.venv}/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export COLUMNS=100 EFQ_CACHE=$work/cache
sha() { sha256sum | cut -d' ' -f1; }
untimed='
import json, sys
manifest = json.load(open(sys.argv[1]))
manifest["recipe"]["training"].pop("seconds", None)
for nodes in manifest["coverage"].values():
    for node in nodes if isinstance(nodes, list) else []:
        node.pop("time_share")
manifest["coverage"].get("op_types", []).sort(key=lambda kind: (kind["domain"], kind["op_type"]))
print(json.dumps(manifest, sort_keys=True))'
embeddings='
import numpy, sys
sys.stdout.buffer.write(numpy.load(sys.argv[1])["embeddings"].tobytes())'

for command in distill evaluate export inspect embed doctor bench demo; do
  echo "$("$bin/efq-$command" --help | sha)  efq-$command --help"
done
mapfile -t faces < <(grep -v '^#' "$LIST" | head -64 | sed "s|^|$FACES/|")
for recipe in prelu mixed relu w4a8; do
  bits=8
  [ "$recipe" = w4a8 ] && bits=4
  "$bin/efq-distill" "$TEACHER" --faces "$FACES" --list "$LIST" --max-images 512 --recipe "$recipe" --steps 4 --seed 0 \
    --threads 1 -o "$work/$recipe.pt" 2> "$work/log" >&2 || { cat "$work/log" >&2; exit 1; }
  for target in ort-cpu openvino trt trt-rtx; do
    options=()
    case $target in trt*) options=(--no-engine) ;; esac
    artifact=$work/$recipe-$target
    "$bin/efq-export" "$work/$recipe.pt" --bits "$bits" --target "$target" "${options[@]}" -o "$artifact" \
      2> "$work/log" >&2 || { cat "$work/log" >&2; exit 1; }
    echo "$(sha < "$artifact/model.onnx")  $recipe $target model.onnx"
    echo "$(sha < "$artifact/README.md")  $recipe $target README.md"
    echo "$("$bin/python" -c "$untimed" "$artifact/manifest.json" | sha)  $recipe $target manifest.json without times"
    case $target in trt*) continue ;; esac
    "$bin/efq-embed" "$artifact" "${faces[@]}" --backend "$(sed s/ort-cpu/onnxruntime/ <<< "$target")" --threads 1 \
      -o "$work/embeddings.npz" 2> "$work/log" >&2 || { cat "$work/log" >&2; exit 1; }
    echo "$("$bin/python" -c "$embeddings" "$work/embeddings.npz" | sha)  $recipe $target embeddings"
  done
done
