#!/bin/sh
# Starts the window on a virtual screen, does a user's jobs with real keys and clicks, and stores a picture of the screen after each:
#   tools/window_jobs.sh PROGRAM MODEL PICTURE FOLDER
# It needs Xvfb, xdotool and scrot.
set -eu

program=$1 model=$2 picture=$3 out=$4
for tool in Xvfb xdotool scrot; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 2; }
done
mkdir -p "$out"
home=$(mktemp -d)
number=$home/display
Xvfb -noreset -displayfd 3 -screen 0 1400x900x24 3>"$number" 2>/dev/null &
server=$!
trap 'kill "$window" "$server" 2>/dev/null || true; rm -rf "$home"' EXIT
window=$server
while [ ! -s "$number" ]; do sleep 0.1; done
DISPLAY=:$(cat "$number")
export DISPLAY
HOME=$home XDG_DATA_HOME=$home "$program" --model "$model" "$picture" &
window=$!
id=$(xdotool search --sync --onlyvisible --pid "$window" | tail -1)
xdotool windowsize "$id" 1400 900
xdotool windowmove "$id" 0 0
xdotool windowfocus "$id" 2>/dev/null || true

shot() {
    sleep "${2:-3}"
    kill -0 "$window" || { echo "the window closed before $1" >&2; exit 1; }
    scrot --overwrite "$out/$1.png"
    echo "$out/$1.png"
}

shot 01-caption 8
xdotool key r
shot 02-regenerate
xdotool key Right
shot 03-heat-of-a-word
xdotool key ctrl+k
sleep 1
xdotool type --delay 40 "light"
shot 04-commands 1
xdotool key Return
shot 05-light 1
xdotool key ctrl+l
shot 06-models 2
xdotool key Escape
sleep 1
xdotool key ctrl+k
sleep 1
xdotool type --delay 40 "compare"
xdotool key Return
shot 07-compare-with 2
xdotool key Escape
sleep 1
xdotool key ctrl+3
shot 08-attention 6
xdotool key m
xdotool mousemove 300 300 sleep 0.3 mousedown 1 sleep 0.3 mousemove 380 340 sleep 0.3 mousemove 440 380 sleep 0.3 mouseup 1
shot 09-hidden-patches 2
xdotool key ctrl+o
shot 10-path-field 2
