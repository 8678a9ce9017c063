#!/usr/bin/env bash
# What a change that is to change nothing must leave alone, as SHA-256 lines: model.onnx of four recipes for four targets,
# embeddings of 64 faces, and the help text of every command. Run it on both commits and compare the outputs:
#   VENV=.venv FACES=folder/of/faces LIST=its/images.txt TEACHER=teacher.pt tests/hashes.sh > after.txt
set -euo pipefail
bin=${VENV:-.venv}/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export COLUMNS=100 EFQ_CACHE=$work/cache
sha() { sha256sum | cut -d' ' -f1; }

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
    for file in manifest.json README.md parity.json; do
      echo "$(sha < "$artifact/$file")  $recipe $target $file"
    done
    case $target in trt*) continue ;; esac
    "$bin/efq-embed" "$artifact" "${faces[@]}" --backend "$(sed s/ort-cpu/onnxruntime/ <<< "$target")" --threads 1 \
      -o "$work/embeddings.npz" 2> "$work/log" >&2 || { cat "$work/log" >&2; exit 1; }
    echo "$("$bin/python" -c "import numpy, sys; sys.stdout.buffer.write(numpy.load('$work/embeddings.npz')['embeddings'].tobytes())" | sha)  $recipe $target embeddings"
  done
done
