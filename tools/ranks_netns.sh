#!/usr/bin/env bash
# Trains on two ranks in network namespaces that a slow link joins, as two machines would be, and compares the result with that of one
# process. Then takes the link away, which must end both ranks within a minute.
#
# usage, as root: tools/ranks_netns.sh [RATE], by default 1gbit, with iproute2 and Open MPI; SEEMORE_TRAIN names a `train` that was built
# with `--features mpi`.
set -euo pipefail
cd "$(dirname "$0")/.."

rate=${1:-1gbit}
train=$(realpath "${SEEMORE_TRAIN:-target/release/train}")
data=$PWD/data
work=$(mktemp -d)
cleanup() {
    for side in a b; do
        ip netns pids "seemore-$side" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
    done
    ip netns del seemore-a 2>/dev/null || true
    ip netns del seemore-b 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

ip netns add seemore-a
ip netns add seemore-b
ip link add seemore-a type veth peer name seemore-b
for side in a b; do
    ip link set "seemore-$side" netns "seemore-$side"
    address=10.77.0.$([ $side = a ] && echo 1 || echo 2)
    ip -n "seemore-$side" address add "$address/24" dev "seemore-$side"
    ip -n "seemore-$side" link set lo up
    ip -n "seemore-$side" link set "seemore-$side" up
    ip netns exec "seemore-$side" tc qdisc add dev "seemore-$side" root tbf rate "$rate" burst 256kb latency 100ms
done

# what mpirun calls in place of ssh: HOST COMMAND..
cat >"$work/agent" <<'AGENT'
#!/bin/sh
shift
exec ip netns exec seemore-b unshare --uts sh -c "hostname seemore-b; $*"
AGENT
chmod +x "$work/agent"
ranks() {
    ip netns exec seemore-a unshare --uts sh -c 'hostname seemore-a; exec "$@"' sh mpirun --allow-run-as-root -n 2 \
        --host 10.77.0.1:1,10.77.0.2:1 --mca plm_rsh_agent "$work/agent" --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \
        --mca oob_tcp_if_include 10.77.0.0/24 "$@"
}
flags=(--data "$data/inputs.csv" --val-data "$data/inputs_val.csv" --warmup 2 --log-every 5 --device cpu:1 --no-autotune --batch-size 16
    --json)
steps=(--steps "${STEPS:-20}")

echo "one process with --accumulate 2, and two ranks over a link of $rate"
"$train" "${flags[@]}" "${steps[@]}" --accumulate 2 --out "$work/one" >"$work/one.txt"
for format in f32 f16; do
    ranks "$train" "${flags[@]}" "${steps[@]}" --allreduce $format --out "$work/$format" >"$work/$format.txt"
    echo "$format: $(grep exchange_ms "$work/$format.txt" | tail -1)"
done
echo "one process: $(grep gradient_norm "$work/one.txt" | tail -1)"
cmp "$work/one/model.safetensors" "$work/f32/model.safetensors"
echo "the model of two ranks is that of one process, byte for byte"

echo "a link that fails"
ranks "$train" "${flags[@]}" --preset tiny --steps 1000000 --save-every 5 --out "$work/cut" >"$work/cut.txt" 2>"$work/cut.log" &
training=$!
until ls "$work"/cut/states/*.safetensors >/dev/null 2>&1; do
    kill -0 "$training" 2>/dev/null || { cat "$work/cut.log"; exit 1; }
    sleep 0.1
done
ip -n seemore-b link set seemore-b down
start=$SECONDS
while ip netns pids seemore-a | xargs -r ps -o args= -p | grep -q "^$train" || ip netns pids seemore-b | xargs -r ps -o args= -p | grep -q "^$train"; do
    [ $((SECONDS - start)) -le 60 ] || { echo "ranks go on after a minute"; exit 1; }
    sleep 0.5
done
echo "all ranks ended after $((SECONDS - start)) s:"
grep "silent\|cannot be reached" "$work/cut.log"
# mpirun itself waits for its daemon on the other side
kill -KILL "$training"
# what was saved is whole
"$train" --resume "$work/cut" --steps "$(($(grep -o '"step": *[0-9]*' "$work/cut/training.json" | head -1 | tr -dc 0-9) + 2))" --device cpu:1 >/dev/null
echo "and the last save goes on"
