#!/bin/sh
# Opens a photograph many times in the window on a virtual screen, where the model captions it each time, and prints the memory:
#   tools/window_memory.sh PROGRAM MODEL PHOTOGRAPH COUNT SECONDS
# VmHWM is the peak. The picture of the screen at the end shows how many are captioned. Needs Xvfb and scrot.
set -eu

program=$(realpath "$1") model=$(realpath "$2") photograph=$(realpath "$3") count=$4 seconds=$5
home=$(mktemp -d)
server= window=
trap 'kill $window $server 2>/dev/null || true; rm -rf "$home"' EXIT
mkdir "$home/photographs"
cp "$photograph" "$home/first.jpg"
for number in $(seq "$count"); do ln "$home/first.jpg" "$home/photographs/$number.jpg"; done
Xvfb -noreset -displayfd 3 -screen 0 1400x900x24 3>"$home/display" 2>/dev/null &
server=$!
while [ ! -s "$home/display" ]; do sleep 0.1; done
DISPLAY=:$(cat "$home/display")
export DISPLAY
HOME=$home XDG_DATA_HOME=$home "$program" --model "$model" "$home/photographs" &
window=$!
end=$(($(date +%s) + seconds))
while [ "$(date +%s)" -lt "$end" ]; do
    sleep 10
    grep -E 'VmHWM|VmRSS' "/proc/$window/status" | tr -s '\t\n' '  '
    echo
done
scrot --overwrite window_memory.png
