#!/bin/sh
# Installs packages with the package manager of a Linux system: packages.sh MISSING DEBIAN FEDORA ARCH, where MISSING says what is
# missing, and the others name the packages on Debian and Ubuntu, on Fedora and on Arch.
set -eu

missing=$1
if command -v apt-get >/dev/null; then
    command="apt-get install -y --no-install-recommends $2"
    before="apt-get update"
elif command -v dnf >/dev/null; then
    command="dnf install -y $3"
    before=true
elif command -v pacman >/dev/null; then
    command="pacman -S --noconfirm --needed $4"
    before=true
else
    echo "$missing is not installed. Install it with this system's package manager ($2 on Debian), then try again." >&2
    exit 2
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "$missing is not installed, and sudo is not available to install it. As root, run \`$command\`, then try again." >&2
        exit 2
    }
    as_root=sudo
fi
echo "$missing is not installed; installing it: ${as_root:+$as_root }$command" >&2
[ "$before" = true ] || $as_root $before
$as_root $command
