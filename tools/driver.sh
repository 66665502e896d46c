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

exec sh "$(dirname "$0")/packages.sh" "A working Vulkan driver" \
    "mesa-vulkan-drivers libvulkan1" \
    "mesa-vulkan-drivers vulkan-loader" \
    "vulkan-swrast vulkan-icd-loader"
