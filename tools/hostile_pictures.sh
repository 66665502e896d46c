#!/bin/sh
# Decodes the pictures that Pillow and PngSuite test with, of all formats, whole and broken: opt-in, as it needs the network.
#
# Needs: python3 with pip, tar, timeout, cargo. Downloads some 47 MB from PyPI (the sources of pypng, which hold PngSuite, and of
# Pillow) into a folder that is removed at the end, and installs nothing. Runs what
# pip needs to tell Pillow's version, and pypng's module that holds PngSuite.
# Prints a line a picture and counts by reason. Fails on a panic, on a valid picture of PngSuite that is refused, when decoding takes
# more than 3 GB of addresses, or all pictures together more than ten minutes. docs/hostile-pictures.md records a run.
set -eu

cd "$(dirname "$0")/.."
cargo build --quiet --example decode_pictures
program="${CARGO_TARGET_DIR:-target}/debug/examples/decode_pictures"

temporary="$(mktemp -d)"
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' INT TERM

fetch() {
    # pip asks a source for its version with the source's own build tools; those come as wheels, or they would be built, too
    TMPDIR="$temporary" timeout 300 python3 -m pip download --quiet --disable-pip-version-check --no-binary "$1" --no-deps \
        --dest "$temporary/sources" "$1${2:+==$2}" >&2
}
fetch pypng "${PYPNG_VERSION:-}"
fetch pillow "${PILLOW_VERSION:-}"

mkdir "$temporary/pictures"
for source in "$temporary"/sources/*.tar.gz; do
    echo "# $(basename "$source")"
    tar -xzf "$source" -C "$temporary/pictures"
done
# PngSuite lies in pypng as a module that holds the files' bytes
mkdir "$temporary/pictures/pngsuite"
PYTHONPATH="$(dirname "$(find "$temporary/pictures" -name pngsuite.py)")" python3 - "$temporary/pictures/pngsuite" <<'WRITE'
import pathlib, sys
import pngsuite
for name, picture in pngsuite.png.items():
    pathlib.Path(sys.argv[1], name + ".png").write_bytes(picture)
WRITE

program="$(cd "$(dirname "$program")" && pwd)/decode_pictures"
cd "$temporary/pictures"
ulimit -v 3000000
timeout 600 "$program" .
