#!/bin/sh
# Installs Mesa's software Vulkan driver on a Linux system without a working Vulkan driver.
set -eu

[ "$(uname -s)" = Linux ] || exit 0
# Mesa's packages contain drivers for every GPU, which work only if there is one
gpu=no
for node in /dev/dri/renderD* /dev/nvidia*; do
    if [ -e "$node" ]; then gpu=yes; fi
done
for folder in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d; do
    for driver in "$folder"/*.json; do
        [ -e "$driver" ] || continue
        case "$gpu $driver" in
            yes*|*/lvp_icd*) exit 0 ;;
        esac
    done
done
if [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then
    exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "No working Vulkan driver is installed, and sudo is not available to install one." >&2
        echo "As root, install mesa-vulkan-drivers (Debian, Ubuntu, Fedora) or vulkan-swrast (Arch), then try again." >&2
        exit 2
    }
    as_root=sudo
fi

if command -v apt-get >/dev/null; then
    command="apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1"
    before="apt-get update"
elif command -v dnf >/dev/null; then
    command="dnf install -y mesa-vulkan-drivers vulkan-loader"
    before=true
elif command -v pacman >/dev/null; then
    command="pacman -S --noconfirm --needed vulkan-swrast vulkan-icd-loader"
    before=true
else
    echo "No working Vulkan driver is installed. Install Mesa's Vulkan drivers with this system's package manager, then try again." >&2
    exit 2
fi
echo "No working Vulkan driver is installed; installing the software driver: ${as_root:+$as_root }$command" >&2
[ "$before" = true ] || $as_root $before
$as_root $command
