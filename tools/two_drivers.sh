#!/usr/bin/env bash
# Runs the shader tests on two software drivers: Mesa's lavapipe (subgroups of 8 on most CPUs, 16-bit floats) and SwiftShader
# (subgroups of 4, no 16-bit floats, 10 storage buffers per kernel). For Debian and its derivatives: SwiftShader comes from the package
# chromium-common, which is unpacked into SEEMORE_SWIFTSHADER (default: seemore-swiftshader in the user's cache folder), not installed.
#
#   tools/two_drivers.sh            both
#   tools/two_drivers.sh swiftshader
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${SEEMORE_SWIFTSHADER:-${XDG_CACHE_HOME:-$HOME/.cache}/seemore-swiftshader}

swiftshader() {
    if [ ! -e "$folder/libvk_swiftshader.so" ]; then
        work=$(mktemp -d)
        # for apt's own user
        chmod 755 "$work"
        (cd "$work" && apt-get download -q chromium-common >/dev/null && dpkg-deb -x chromium-common_*.deb unpacked)
        mkdir -p "$folder"
        cp "$work/unpacked/usr/lib/chromium/libvk_swiftshader.so" "$folder/"
        printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.1.0"}}\n' \
            "$folder/libvk_swiftshader.so" >"$folder/driver.json"
        rm -rf "$work"
    fi
    echo "$folder/driver.json"
}

lavapipe() {
    ls /usr/share/vulkan/icd.d/lvp_icd*.json | head -n 1
}

drivers=${*:-lavapipe swiftshader}
for driver in $drivers; do
    file=$("$driver")
    echo "== $driver ($file)"
    export VK_DRIVER_FILES=$file VK_ICD_FILENAMES=$file
    cargo run --quiet -- doctor --no-self-test | sed -n '/Chosen adapter/,/free memory/p'
    cargo test --quiet --lib -- graph:: device:: ops:: nn:: train::
    cargo test --quiet --test parity --test decode --test training --test search
done
