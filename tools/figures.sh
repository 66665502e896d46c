#!/bin/sh
# Runs the examples of the book and replaces the figures in docs/book by those that they draw.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

# in the profile of the tests, which are built anyway
cargo build --profile test --examples
for source in examples/[0-9]*.rs; do
    name=$(basename "$source" .rs)
    echo "$name"
    SEEMORE_BOOK="$folder" "target/debug/examples/$name" >/dev/null
done
cp "$folder"/*.svg docs/book/src/figures/
