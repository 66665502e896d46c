#!/bin/sh
# Steps through photographs in the window on a virtual screen, and prints its memory after every 100:
#   tools/window_memory.sh PROGRAM caption|batch FOLDER [MODEL]
# FOLDER holds JPEG files of the same size, such as those of the example photographs. With a MODEL, every picture that is opened on the
# Caption page is captioned. Fails if the peak exceeds 1 GB. Needs Xvfb, xdotool and scrot. Stores the screen in window_memory.png.
set -eu

program=$(realpath "$1") page=$2 folder=$(realpath "$3") model=${4:-}
case $page in caption | batch) ;; *) echo "the page is caption or batch, not $page" >&2; exit 2 ;; esac
for tool in Xvfb xdotool scrot; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 2; }
done
count=$(find "$folder" -name '*.jpg' | wc -l)
bytes=$(find "$folder" -name '*.jpg' -printf '%s\n' -quit)
# a folder without a model, which the window reports and goes on
model=$(realpath "${model:-$folder}")
home=$(mktemp -d)
server= window=
trap 'kill $window $server 2>/dev/null || true; rm -rf "$home"' EXIT
Xvfb -noreset -displayfd 3 -screen 0 1400x900x24 3>"$home/display" 2>/dev/null &
server=$!
while [ ! -s "$home/display" ]; do sleep 0.1; done
DISPLAY=:$(cat "$home/display")
export DISPLAY
HOME=$home XDG_DATA_HOME=$home "$program" --model "$model" &
window=$!
id=$(xdotool search --sync --onlyvisible --pid "$window" | tail -1)
xdotool windowsize "$id" 1400 900
xdotool windowmove "$id" 0 0
xdotool windowfocus "$id" 2>/dev/null || true
sleep 5

# Number of pictures read so far, estimated from the bytes read
pictures() {
    kill -0 "$window" 2>/dev/null || { echo "the window has closed" >&2; exit 1; }
    echo $(($(awk '/^rchar/ { print $2 }' "/proc/$window/io") / bytes))
}
# Waits until no picture was read for some tenths of a second: TENTHS
settle() {
    before=-1 quiet=0
    while [ "$quiet" -lt "$1" ]; do
        now=$(pictures)
        if [ "$now" = "$before" ]; then quiet=$((quiet + 1)); else quiet=0; fi
        before=$now
        sleep 0.1
    done
}
# Prints the memory: TEXT
memory() {
    awk -v text="$1" '/^VmRSS/ { now = $2 } /^VmHWM/ { peak = $2 }
        END { printf "%s: %d MB, peak %d MB\n", text, now * 1.024e-3, peak * 1.024e-3 }' "/proc/$window/status"
}

case $page in batch) xdotool key ctrl+2 ;; esac
sleep 1
xdotool key ctrl+shift+o sleep 1 type --delay 10 "$folder"
xdotool key Return
settle 50
memory "opened $count"
# the Caption page shows the picture that was opened last, the Batch page the first
case $page in caption) next=Up ;; batch) next=ctrl+Next ;; esac
step=0
while [ "$step" -lt "$count" ]; do
    step=$((step + 1))
    before=$(pictures) tries=0
    xdotool key "$next"
    # the last step leads nowhere
    while [ "$(pictures)" -le "$before" ] && [ "$tries" -lt 60 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    # thumbnails are read, too
    case $page in batch) settle 6 ;; esac
    if [ $((step % 100)) = 0 ]; then memory "$step shown"; fi
done
settle 20
memory "$step shown"
scrot --overwrite window_memory.png
peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$window/status")
[ $((peak * 1024)) -lt 1000000000 ] || { echo "the peak exceeds 1 GB" >&2; exit 1; }
