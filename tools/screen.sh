#!/bin/sh
# Installs a virtual X screen and the X libraries of the window, on a Linux system that lacks them, for the test that opens the window.
set -eu

[ "$(uname -s)" = Linux ] || exit 0
command -v Xvfb >/dev/null && exit 0

exec sh "$(dirname "$0")/packages.sh" "Xvfb" \
    "xvfb libxkbcommon-x11-0 libx11-xcb1 libxcursor1 libxi6 libxrandr2" \
    "xorg-x11-server-Xvfb libxkbcommon-x11 libXcursor libXi libXrandr" \
    "xorg-server-xvfb libxkbcommon-x11 libxcursor libxi libxrandr"
