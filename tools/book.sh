#!/bin/sh
# Builds the book into target/book, with mdBook from crates.io in target/mdbook unless there is one.
set -eu
cd "$(dirname "$0")/.."
version=0.5.4

mdbook=target/mdbook/bin/mdbook
if [ "$(mdbook --version 2>/dev/null)" = "mdbook v$version" ]; then
    mdbook=mdbook
elif [ "$("$mdbook" --version 2>/dev/null)" != "mdbook v$version" ]; then
    echo "installing mdBook $version in target/mdbook"
    cargo install mdbook --version "=$version" --locked --no-default-features --features search --root target/mdbook
fi
"$mdbook" build docs/book
echo "target/book/index.html"
