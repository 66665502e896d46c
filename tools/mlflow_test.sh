#!/usr/bin/env bash
# Tests tracking with a real MLflow server and TensorBoard's reader: `make test-mlflow`.
#
# Needs python3 with venv, and PyPI in the first run. The environment (about 1 GB) is kept in SEEMORE_MLFLOW_ENV, by default
# seemore-mlflow-VERSION in the user's cache folder. The server listens on loopback only and writes to a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."

MLFLOW=${MLFLOW_VERSION:-3.17.2}
environment=${SEEMORE_MLFLOW_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/seemore-mlflow-$MLFLOW}
if [ ! -x "$environment/bin/mlflow" ]; then
    echo "installing mlflow $MLFLOW into $environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet "mlflow==$MLFLOW" tensorboard
fi

cargo build --release --quiet
seemore=$PWD/target/release/seemore
data=$PWD/data
work=$(mktemp -d)
server=
cleanup() {
    if [ -n "$server" ]; then kill -TERM -- "-$server" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT

port=$("$environment/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
uri=http://127.0.0.1:$port

start() {
    # a separate process group, since the server starts further processes
    setsid "$environment/bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 \
        --backend-store-uri "sqlite:///$work/mlflow.db" --artifacts-destination "$work/artifacts" --serve-artifacts >"$work/server.log" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        if "$environment/bin/python" -c "import urllib.request; urllib.request.urlopen('$uri/health', timeout=1)" 2>/dev/null; then return; fi
        sleep 0.2
    done
    echo "the server did not start:"; cat "$work/server.log"; exit 1
}

stop() {
    kill -KILL -- "-$server"
    wait "$server" 2>/dev/null || true
    server=
}

cd "$work"
tiny=(train --data "$data/inputs.csv" --val-data "$data/inputs_val.csv" --preset tiny --no-autotune --log-every 1)
train() {
    "$seemore" "${tiny[@]}" "$@" 2>&1
}

echo "a run with a running server"
start
train --steps 20 --eval-every 10 --out there --track "mlflow=$uri" --track tensorboard=board --track csv=there.csv \
    --track-experiment tests --track-run "there and whole" >there.log
if grep -E "not all data were sent|warning" there.log; then exit 1; fi

echo "a run that is killed and resumed: steps after its last save are repeated"
track=(--track "mlflow=$uri" --track tensorboard=killed_board --track csv=killed.csv)
"$seemore" "${tiny[@]}" --steps 400 --save-every 64 --out killed "${track[@]}" --track-experiment tests >killed.log 2>&1 &
training=$!
until grep -qs "^step 180/" killed.log; do
    if ! kill -0 "$training" 2>/dev/null; then cat killed.log; exit 1; fi
    sleep 0.01
done
kill -KILL "$training"
wait "$training" 2>/dev/null || true
"$seemore" train --resume killed "${track[@]}" >killed2.log 2>&1
if grep -E "not all data were sent|warning" killed2.log; then cat killed2.log; exit 1; fi

echo "a run whose server is killed, and a run without a server"
train --steps 1000 --out died --track "mlflow=$uri" --track-experiment tests >died.log &
training=$!
until grep -qs "^step 200/" died.log; do
    if ! kill -0 "$training" 2>/dev/null; then cat died.log; exit 1; fi
    sleep 0.05
done
stop
wait "$training"
grep -q "send them later with: seemore track died" died.log
train --steps 20 --out dead --track "mlflow=$uri" --track-experiment tests >dead.log
grep -q "send them later with: seemore track dead" dead.log
# a resumed run continues the same run of the server
"$seemore" train --resume dead --steps 30 --track "mlflow=$uri" >resumed.log 2>&1

echo "the server is back"
start
"$seemore" track died
"$seemore" track dead
# nothing is left to send
"$seemore" track died

MLFLOW_TRACKING_URI=$uri PYTHONWARNINGS=ignore "$environment/bin/python" - <<'PYTHON'
import filecmp, json, pathlib, tempfile
from mlflow.tracking import MlflowClient

client = MlflowClient()
experiment = client.get_experiment_by_name("tests")
runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
assert sorted(runs) == ["dead", "died", "killed", "there and whole"], sorted(runs)
for name, folder, steps in [("there and whole", "there", 20), ("killed", "killed", 400), ("died", "died", 1000), ("dead", "dead", 30)]:
    run = runs[name]
    assert run.info.status == "FINISHED", (name, run.info.status)
    config = json.load(open(f"{folder}/training.json"))["config"]
    assert run.data.params["batch.size"] == str(config["batch"]["size"]), run.data.params
    assert run.data.params["model.text.width"] and run.data.params["optimizer.beta1"] == "0.9" and run.data.params["adapter"]
    for metric in ["loss", "learning_rate", "gradient_norm", "tokens_per_s", "resident_mb", "cpu_seconds"]:
        history = client.get_metric_history(run.info.run_id, metric)
        assert sorted(point.step for point in history) == list(range(1, steps + 1)), (name, metric, len(history))
    for file in ["config.json", "tokenizer.json", "training.json", "model.safetensors"]:
        with tempfile.TemporaryDirectory() as place:
            got = client.download_artifacts(run.info.run_id, file, place)
            assert filecmp.cmp(got, f"{folder}/{file}", shallow=False), (name, file)
there = client.get_metric_history(runs["there and whole"].info.run_id, "val_loss")
assert [point.step for point in there] == [10, 20], there

# the same numbers in the CSV file and on the server
rows = [line.split(",") for line in open("there.csv").read().splitlines()]
losses = {int(row[0]): float(row[2]) for row in rows[1:] if row[2]}
for point in client.get_metric_history(runs["there and whole"].info.run_id, "loss"):
    assert abs(losses[point.step] - point.value) < 1e-12, point

# repeated steps are recorded once
rows = [line.split(",") for line in open("killed.csv").read().splitlines()[1:]]
assert [int(row[0]) for row in rows if row[2]] == list(range(1, 401)), len(rows)

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
board = EventAccumulator("board").Reload()
scalars = {event.step: event.value for event in board.Scalars("loss")}
assert scalars.keys() == losses.keys() and all(abs(scalars[step] - losses[step]) < 1e-6 for step in losses), scalars
killed = EventAccumulator("killed_board").Reload()
assert [event.step for event in killed.Scalars("loss")] == list(range(1, 401)), len(killed.Scalars("loss"))
assert all(abs(event.value - float(row[2])) < 1e-6 for event, row in zip(killed.Scalars("loss"), rows)), "other losses"
text = board.Tensors("parameters/text_summary") if "parameters/text_summary" in board.Tags()["tensors"] else board.Tensors("parameters")
assert b"batch.size" in text[0].tensor_proto.string_val[0]
print("mlflow and tensorboard have all parameters, every metric of every step once, and identical files")
PYTHON
