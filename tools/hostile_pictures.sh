#!/bin/sh
# Decodes the test pictures of Pillow and PngSuite. Opt-in, since it needs the network.
#
# Needs python3 with pip, tar, timeout and cargo. Downloads about 47 MB from PyPI (the source packages of pypng, which contains
# PngSuite, and of Pillow) into a temporary folder, and installs nothing. Runs the build tools that pip needs to find Pillow's
# version, and the pypng module that contains PngSuite.
#
# Prints a line for each picture and the number of files for each outcome. Fails if decoding panics, refuses a valid picture of
# PngSuite, takes more than 3 GB of address space, or takes more than ten minutes in all. docs/hostile-pictures.md records a run.
set -eu

cd "$(dirname "$0")/.."
cargo build --quiet --example decode_pictures
program="${CARGO_TARGET_DIR:-target}/debug/examples/decode_pictures"

temporary="$(mktemp -d)"
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' INT TERM

fetch() {
    # pip finds the version of a source package with the package's own build tools, which it takes as wheels
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
# pypng contains PngSuite as a module of byte strings
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
