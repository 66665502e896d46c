#!/bin/sh
# Installs a virtual X screen and the X libraries of the window, on a Linux system that lacks them, for the test that opens the window.
set -eu

[ "$(uname -s)" = Linux ] || exit 0
command -v Xvfb >/dev/null && exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "Xvfb is not installed, and sudo is not available to install it. As root, install xvfb, then try again." >&2
        exit 2
    }
    as_root=sudo
fi

if command -v apt-get >/dev/null; then
    command="apt-get install -y --no-install-recommends xvfb libxkbcommon-x11-0 libx11-xcb1 libxcursor1 libxi6 libxrandr2"
    before="apt-get update"
elif command -v dnf >/dev/null; then
    command="dnf install -y xorg-x11-server-Xvfb libxkbcommon-x11 libXcursor libXi libXrandr"
    before=true
elif command -v pacman >/dev/null; then
    command="pacman -S --noconfirm --needed xorg-server-xvfb libxkbcommon-x11 libxcursor libxi libxrandr"
    before=true
else
    echo "Xvfb is not installed. Install it with this system's package manager, then try again." >&2
    exit 2
fi
echo "Xvfb is not installed; installing it: ${as_root:+$as_root }$command" >&2
[ "$before" = true ] || $as_root $before
$as_root $command
