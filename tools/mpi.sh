#!/bin/sh
# Installs Open MPI, and what Rust's binding to it is made with, on a Linux system without an MPI library.
set -eu

[ "$(uname -s)" = Linux ] || exit 0
if command -v mpicc >/dev/null && command -v mpirun >/dev/null &&
    { [ -n "${LIBCLANG_PATH:-}" ] || ls /usr/lib/llvm*/lib/libclang* /usr/lib*/libclang* /usr/lib/*/libclang* 2>/dev/null | grep -q .; }; then
    exit 0
fi

exec sh "$(dirname "$0")/packages.sh" "Open MPI or libclang" \
    "libopenmpi-dev openmpi-bin libclang-dev" \
    "openmpi-devel clang-devel" \
    "openmpi clang"
