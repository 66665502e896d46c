#!/bin/sh
# Starts the window on a virtual screen, does ten jobs of a user with real keys, by the names of commands, and stores a picture of the screen after each:
#   tools/window_jobs.sh PROGRAM MODEL PICTURE FOLDER
# MODEL answers questions about photographs, such as data/checkpoints/photo. Needs Xvfb, xdotool and scrot. Takes about six minutes.
# PAUSE sets the seconds after each key.
set -eu

# seconds after keys, more on a busy machine
pause=${PAUSE:-0.5}
program=$(realpath "$1") model=$(realpath "$2") picture=$(realpath "$3") out=$4
data=$(realpath "$(dirname "$0")/../data")
for tool in Xvfb xdotool scrot; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 2; }
done
mkdir -p "$out"
out=$(realpath "$out")
home=$(mktemp -d)
server= window=
trap 'kill $window $server 2>/dev/null || true; rm -rf "$home"' EXIT

# twenty drawings with captions to train on, and photographs to caption
mkdir "$home/twenty" "$home/photographs"
number=0
sed -n 2,21p "$data/inputs.csv" | while IFS= read -r row; do
    number=$((number + 1))
    printf %s "${row%%,*}" | base64 -d >"$home/twenty/$number.png"
    printf '%s\n' "${row#*,}" >"$home/twenty/$number.txt"
done
cp "$data"/photographs/*.jpg "$home/photographs/"

Xvfb -noreset -displayfd 3 -screen 0 1400x900x24 3>"$home/display" 2>/dev/null &
server=$!
while [ ! -s "$home/display" ]; do sleep 0.1; done
DISPLAY=:$(cat "$home/display")
SEEMORE_WEIGHTS=${SEEMORE_WEIGHTS:-${XDG_CACHE_HOME:-$HOME/.cache}/seemore-weights}
export DISPLAY SEEMORE_WEIGHTS
cd "$home"
HOME=$home XDG_DATA_HOME=$home XDG_CACHE_HOME=$home/cache "$program" --model "$model" "$picture" &
window=$!
id=$(xdotool search --sync --onlyvisible --pid "$window" | tail -1)
xdotool windowsize "$id" 1400 900
xdotool windowmove "$id" 0 0
xdotool windowfocus "$id" 2>/dev/null || true

# Stores a picture of the screen: NAME SECONDS-BEFORE
shot() {
    sleep "$2"
    kill -0 "$window" || { echo "the window closed before $1" >&2; exit 1; }
    scrot --overwrite "$out/$1.png"
    echo "$out/$1.png"
}
press() {
    xdotool key "$@"
    sleep "$pause"
}
enter() {
    xdotool type --delay 20 "$1"
    sleep "$pause"
}
# Takes a command of the palette: WORDS OF ITS NAME
command_of() {
    press ctrl+k
    enter "$1"
    press Return
}
# Answers a dialog that asks for a path
path() {
    enter "$1"
    press Return
    sleep 2
}

shot 01-caption-a-photo 14
command_of "ask a question"
enter "Is it an animal?"
press Return
shot 02-follow-up 8
command_of "show the batch page"
command_of "open a folder"
path "$home/photographs"
command_of "caption the chosen"
sleep 20
for text in "a woman in an orange suit" "a brick wall" "a man with a camera" "a tabby cat" "a wall clock"; do
    command_of "edit the caption"
    press ctrl+a
    enter "$text"
    press ctrl+Next
done
shot 03-caption-a-folder-and-fix-five 2
command_of "find and replace"
enter "tabby cat"
press Tab
enter "cat with green eyes"
command_of "make the previewed replacements"
shot 04-find-and-replace 1
command_of "import or export"
command_of "save captions: json lines"
sleep 2
# one replacement, five edits and the captions of the model are undone, then imported
for _ in 1 2 3 4 5 6 7; do command_of "undo the last"; done
command_of "import captions..."
path "$home/photographs/captions.jsonl"
shot 05-export-and-reimport 1
command_of "show the attention page"
sleep 8
for _ in 1 2 3; do command_of "show the next layer"; done
for _ in 1 2; do command_of "show the next head"; done
shot 06-inspect-a-head 2
command_of "hide patches"
# over the picture, which is the largest thing on the page
xdotool mousemove 330 300 sleep 0.3 mousedown 1 sleep 0.3 mousemove 420 340 sleep 0.3 mousemove 480 400 sleep 0.3 mouseup 1
command_of "run again without"
shot 07-mask-a-patch 12
command_of "show the train page"
command_of "choose the pretrained model"
path "$model"
command_of "open a folder"
path "$home/twenty"
command_of "check the data"
sleep 4
command_of "start the training"
shot 08-fine-tune-on-twenty 60
command_of "stop the training"
sleep 15
command_of "resume the training that was"
shot 09-resume 75
command_of "show the caption page"
command_of "compare with another"
path "$data/checkpoints/emoji"
shot 10-compare-two-models 15
