#!/usr/bin/env bash
# Runs the tests of shaders on several software drivers, and writes docs/drivers.md: Mesa's lavapipe with subgroups of 4, 8 and 16,
# the newest Mesa that Debian has, and SwiftShader (subgroups of 4, no 16-bit floats, 10 storage buffers in a kernel). For Debian and
# its derivatives. What is not installed is unpacked into SEEMORE_DRIVERS (default: seemore-drivers in the user's cache folder),
# and nothing is installed.
#
#   tools/drivers.sh                     all; 15 minutes on two cores after compiling
#   tools/drivers.sh swiftshader 16      some, without writing the record
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${SEEMORE_DRIVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/seemore-drivers}
library=usr/lib/x86_64-linux-gnu
mkdir -p "$cache"

# A driver file for a library.
driver_file() {
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "%s"}}\n' "$1" "$2"
}

swiftshader() {
    local folder=$cache/swiftshader
    if [ ! -e "$folder/driver.json" ]; then
        work=$(mktemp -d)
        # for apt's own user
        chmod 755 "$work"
        (cd "$work" && apt-get download -q chromium-common >/dev/null && dpkg-deb -x chromium-common_*.deb unpacked)
        mkdir -p "$folder"
        cp "$work/unpacked/usr/lib/chromium/libvk_swiftshader.so" "$folder/"
        driver_file "$folder/libvk_swiftshader.so" 1.1.0 >"$folder/driver.json"
        rm -rf "$work"
    fi
}

# Mesa of Debian's unstable distribution with all that it needs, the C library included: programs run through its loader.
newest() {
    local folder=$cache/newest
    if [ ! -e "$folder/driver.json" ]; then
        mkdir -p "$folder"/{lists/partial,archives/partial,state,root}
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main" >"$folder/sources.list"
        : >"$folder/status"
        apt=(apt-get -qq -o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o "Dir::State=$folder/state" -o "Dir::State::lists=$folder/lists" -o "Dir::State::status=$folder/status"
            -o "Dir::Cache=$folder" -o "Dir::Cache::archives=$folder/archives" -o APT::Sandbox::User=root)
        "${apt[@]}" update
        "${apt[@]}" install -y --no-install-recommends --download-only mesa-vulkan-drivers libvulkan1 >/dev/null
        for package in "$folder"/archives/*.deb; do
            dpkg-deb -x "$package" "$folder/root"
        done
        driver_file "$folder/root/$library/libvulkan_lvp.so" 1.4.0 >"$folder/driver.json"
    fi
}

lavapipe() {
    ls /usr/share/vulkan/icd.d/lvp_icd*.json | head -n 1
}

# The test programs of the library, built once, with the features of `make test`.
tests=$(cargo test --workspace --no-run --message-format=json --lib --test parity --test decode --test training --test search --test emoji |
    python3 -c '
import json, os, sys
for line in sys.stdin:
    made = json.loads(line)
    library = made.get("manifest_path") == os.path.join(os.getcwd(), "Cargo.toml")
    if library and made.get("executable") and made.get("profile", {}).get("test"):
        print(made["executable"])')
cargo build --quiet --workspace --bin seemore
program=${CARGO_TARGET_DIR:-target}/debug/seemore

wanted=${*:-4 8 16 newest swiftshader}
record=$(mktemp)
failed=0
for driver in $wanted; do
    unset LP_NATIVE_VECTOR_WIDTH
    through=()
    case $driver in
        4 | 8 | 16)
            file=$(lavapipe)
            export LP_NATIVE_VECTOR_WIDTH=$((32 * driver))
            ;;
        newest)
            newest
            file=$cache/newest/driver.json
            through=("$cache/newest/root/$library/ld-linux-x86-64.so.2" --library-path "$cache/newest/root/$library")
            ;;
        swiftshader)
            swiftshader
            file=$cache/swiftshader/driver.json
            ;;
        *)
            echo "unknown driver $driver: 4, 8, 16, newest or swiftshader" >&2
            exit 2
            ;;
    esac
    export VK_DRIVER_FILES=$file VK_ICD_FILENAMES=$file SEEMORE_DEVICE=0
    facts=$("${through[@]}" "$program" doctor --device 0 --no-self-test --json 2>/dev/null | python3 -c '
import json, sys
found = json.load(sys.stdin)
print("|", found["adapter"].replace("|", "/"), "|", found["subgroups"], "|", end=" ")')
    passed=0 broken=
    for test in $tests; do
        filter=
        case $test in
            */seemore-*) filter="graph:: device:: ops:: nn:: train::" ;;
        esac
        # the folders of the tests are relative to the repository
        output=$("${through[@]}" "$test" -q $filter 2>&1) || broken="$broken $(basename "${test%-*}")"
        passed=$((passed + $(echo "$output" | sed -n 's/^test result: .*[.] \([0-9]*\) passed.*/\1/p')))
        echo "$output" | grep -E "^test result|FAILED|panicked|^Error" | sed "s/^/$driver: /" >&2 || true
    done
    if [ -n "$broken" ]; then failed=1; fi
    echo "$facts$passed | ${broken:-none} |" | tee -a "$record"
done

if [ $# -eq 0 ]; then
    {
        echo "# Drivers"
        echo
        echo "Written by \`tools/drivers.sh\` on $(date -u +%Y-%m-%d): tests of graphs, devices, ops, layers, training, decoding, parity with"
        echo "PyTorch and search, at commit $(git rev-parse --short HEAD)."
        echo
        echo "| adapter | subgroups | tests passed | programs with failures |"
        echo "|---|---|---|---|"
        cat "$record"
    } >docs/drivers.md
fi
rm -f "$record"
exit $failed
