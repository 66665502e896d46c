#!/bin/sh
# Installs spirv-val on a Linux system that lacks it, for the test that translates kernels.
set -eu

command -v spirv-val >/dev/null && exit 0
[ "$(uname -s)" = Linux ] || {
    echo "spirv-val is not installed. Install SPIRV-Tools, with Homebrew as spirv-tools or with the Vulkan SDK, then try again." >&2
    exit 2
}

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "spirv-val is not installed, and sudo is not available to install it. As root, install spirv-tools, then try again." >&2
        exit 2
    }
    as_root=sudo
fi

if command -v apt-get >/dev/null; then
    command="apt-get install -y --no-install-recommends spirv-tools"
    before="apt-get update"
elif command -v dnf >/dev/null; then
    command="dnf install -y spirv-tools"
    before=true
elif command -v pacman >/dev/null; then
    command="pacman -S --noconfirm --needed spirv-tools"
    before=true
else
    echo "spirv-val is not installed. Install SPIRV-Tools with this system's package manager, then try again." >&2
    exit 2
fi
echo "spirv-val is not installed; installing it: ${as_root:+$as_root }$command" >&2
[ "$before" = true ] || $as_root $before
$as_root $command
