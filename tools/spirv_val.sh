#!/bin/sh
# Installs spirv-val on a Linux system that lacks it, for the test that translates kernels.
set -eu

command -v spirv-val >/dev/null && exit 0
[ "$(uname -s)" = Linux ] || {
    echo "spirv-val is not installed. Install SPIRV-Tools, with Homebrew as spirv-tools or with the Vulkan SDK, then try again." >&2
    exit 2
}

exec sh "$(dirname "$0")/packages.sh" spirv-val spirv-tools spirv-tools spirv-tools
