#!/bin/sh
# Installs Open MPI, and what Rust's binding to it is made with, on a Linux system without an MPI library.
set -eu

[ "$(uname -s)" = Linux ] || exit 0
if command -v mpicc >/dev/null && command -v mpirun >/dev/null &&
    { [ -n "${LIBCLANG_PATH:-}" ] || ls /usr/lib/llvm*/lib/libclang* /usr/lib*/libclang* /usr/lib/*/libclang* >/dev/null 2>&1; }; then
    exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "MPI or libclang is not installed, and sudo is not available to install them." >&2
        echo "As root, install libopenmpi-dev, openmpi-bin and libclang-dev (Debian, Ubuntu), then try again." >&2
        exit 2
    }
    as_root=sudo
fi

if command -v apt-get >/dev/null; then
    command="apt-get install -y --no-install-recommends libopenmpi-dev openmpi-bin libclang-dev"
    before="apt-get update"
elif command -v dnf >/dev/null; then
    command="dnf install -y openmpi-devel clang-devel"
    before=true
elif command -v pacman >/dev/null; then
    command="pacman -S --noconfirm --needed openmpi clang"
    before=true
else
    echo "MPI or libclang is not installed. Install Open MPI and clang with this system's package manager, then try again." >&2
    exit 2
fi
echo "MPI or libclang is not installed; installing them: ${as_root:+$as_root }$command" >&2
[ "$before" = true ] || $as_root $before
$as_root $command
