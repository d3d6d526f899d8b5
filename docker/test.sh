#!/usr/bin/env bash
# Builds the three images and runs a tiny round in them, as hostile a place as a cluster may be: read-only root, a user that
# nobody has heard of, no network. Compares the label store with one made outside, stops a training in its middle, and replaces
# the service's container while clients send requests.
#
#   docker/test.sh            PYTHON names the Python that has selfsyn outside (default: .venv/bin/python)
#
# Needs Docker with BuildKit. A machine behind a proxy with its own certificates gives CA=/path/to/bundle.crt, and with
# BUILD_ARGUMENTS whatever else its builds need (--network host). It is not part of CI: the images are large.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
DOCKER=${DOCKER:-docker}
TAG=${TAG:-0.1.0}
USER_ID=${USER_ID:-12345:0}
UPDATES=${UPDATES:-5}
work=$(mktemp -d)
volume=selfsyn-test-$$
network=selfsyn-test-$$
clean() {
  $DOCKER ps --all --quiet --filter "name=selfsyn-test-.*-$$\$" | xargs -r $DOCKER rm -f
  $DOCKER network rm "$network" || true
  $DOCKER volume rm -f "$volume"
  rm -rf "$work"
}
trap 'clean >/dev/null 2>&1' EXIT

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
# run IMAGE ARGUMENT...: as a cluster would, with the volume at /data; more of docker's options in $options.
run() {
  local image=$1; shift
  $DOCKER run --rm --read-only --tmpfs /tmp:size=2g,mode=1777 --user "$USER_ID" --network "${joined:-none}" --cap-drop ALL \
    --security-opt no-new-privileges --shm-size 256m --env OMP_NUM_THREADS=1 --volume "$volume:/data:${access:-rw}" ${options:-} \
    "selfsyn-$image:$TAG" "$@"
}
shell() { local image=$1; shift; options="${options:-} --entrypoint sh" run "$image" -c "$*"; }
# digests FOLDER: what a finished store promises, without wall times.
digests() { $PYTHON -c 'import json, pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).rglob("manifest.json")):
    print(path.parent.name, json.loads(path.read_text())["digest"])' "$1"; }
fetch() { $DOCKER run --rm --user "$USER_ID" --network none --volume "$volume:/data" --entrypoint tar "selfsyn-teacher:$TAG" -C /data -c "$1" | tar -x -C "$2"; }

say "build"
for target in ${TARGETS:-coordinator teacher train}; do
  DOCKER_BUILDKIT=1 $DOCKER build --quiet -f docker/Dockerfile --target "$target" -t "selfsyn-$target:$TAG" \
    --build-arg VERSION="$TAG" --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    ${CA:+--secret id=ca,src=$CA} ${BUILD_ARGUMENTS:-} . >/dev/null
done
for target in coordinator teacher train; do
  bytes=$($DOCKER image inspect -f '{{.Size}}' "selfsyn-$target:$TAG")
  printf 'selfsyn-%s:%s  %d MB\n' "$target" "$TAG" $((bytes / 1000000))
done

say "what is in them"
for image in coordinator teacher train; do
  shell "$image" 'for tool in gcc cc make uv nvcc; do command -v $tool && exit 1; done; touch /there 2>/dev/null && exit 1; touch /tmp/here && id -u' \
    | grep -qx "${USER_ID%%:*}" || fail "$image: a build tool, or a root file system that can be written, or another user"
  base=$($DOCKER run --rm --entrypoint sh "${PYTHON_IMAGE:-python:3.11-slim-bookworm}" -c 'cat /etc/ssl/certs/* 2>/dev/null | sha256sum')
  [ "$base" = "$(shell "$image" 'cat /etc/ssl/certs/* 2>/dev/null | sha256sum')" ] || fail "$image: certificates that its base has not"
  [ "$($DOCKER image inspect -f '{{.Config.User}}' "selfsyn-$image:$TAG")" = 10001:0 ] || fail "$image: its user"
done
shell teacher '! python -c "import torch" 2>/dev/null && python -c "import onnxruntime"' || fail "teacher: torch is there, or onnxruntime is not"
shell coordinator '! python -c "import numpy" 2>/dev/null' || fail "coordinator: numpy is there"
run coordinator coordinate --run demo --round 1 --goal report-1 2>"$work/said" && fail "coordinator: no cluster, and no error"
grep -q "no cluster to talk to" "$work/said" || fail "coordinator: $(cat "$work/said")"

say "a tiny round outside and inside"
mapfile -t settings < <($PYTHON -c 'import sys; sys.path.insert(0, "tests"); from tiny_run import SETTINGS; print("\n".join(SETTINGS))')
sets=(); for setting in "${settings[@]}"; do sets+=(--set "$setting"); done
outside() { OMP_NUM_THREADS=1 $PYTHON -m jobs "$@" >>"$work/outside.log" 2>&1 || fail "outside, $*: $(tail -3 "$work/outside.log")"; }
outside init demo --run "$work/outside" "${sets[@]}" >/dev/null
outside round --run "$work/outside" --rounds 1 --device cpu
run teacher init demo --run /data/inside "${sets[@]}" >/dev/null
$PYTHON - "$work/outside/run.toml" > "$work/phases" <<'P'
import pathlib, sys
from selfsyn.config import load
from selfsyn.flow import phases
for phase in phases(load(pathlib.Path(sys.argv[1])), rounds=1):
    device = ["--device", "cpu"] if phase.facts.device else []
    print(phase.facts.image, phase.verb, *device, "--run", "/data/inside", *phase.arguments)
P
while read -r image verb arguments <&3; do
  # shellcheck disable=SC2086
  run "$image" "$verb" $arguments >>"$work/inside.log" 2>&1 || fail "$verb $arguments: $(tail -3 "$work/inside.log")"
  printf 'done: %s %s\n' "$verb" "$arguments"
done 3<"$work/phases"
fetch inside "$work"
[ -s "$work/inside/report/index.html" ] || fail "no report"
diff <(digests "$work/outside/round-1/labels") <(digests "$work/inside/round-1/labels") || fail "the label stores differ"
diff -r -x manifest.json "$work/outside/round-1/labels" "$work/inside/round-1/labels" || fail "the label stores differ"
echo "label stores are identical: $(digests "$work/inside/round-1/labels")"

say "a training that is stopped, and goes on"
more=(--set "train.steps=400" --set "train.checkpoint_every=50")
for name in whole stopped; do
  run teacher init demo --run /data/$name "${sets[@]}" "${more[@]}" >/dev/null
  run teacher world --run /data/$name 2>/dev/null
done
run train train --run /data/whole --bound source-only --device cpu 2>/dev/null
name=selfsyn-test-stopped-$$
options="--name $name" run train train --run /data/stopped --bound source-only --device cpu >"$work/stopped.log" 2>&1 &
process=$!
until $DOCKER exec "$name" test -e /data/stopped/source-only/task/checkpoint.pt 2>/dev/null; do
  kill -0 $process 2>/dev/null || fail "the training ended before it was stopped: $(tail -3 "$work/stopped.log")"
  sleep 0.2
done
$DOCKER kill --signal TERM "$name" >/dev/null
code=0; wait $process || code=$?
[ "$code" = 143 ] || fail "SIGTERM: exit code $code, expected 143: $(tail -3 "$work/stopped.log")"
shell teacher 'test -s /data/stopped/source-only/task/checkpoint.pt && test ! -e /data/stopped/source-only/task/manifest.json' || fail "no checkpoint"
run train train --run /data/stopped --bound source-only --device cpu 2>"$work/resumed.log"
grep -q "resumes at step" "$work/resumed.log" || fail "it began anew: $(cat "$work/resumed.log")"
shell teacher 'cd /data && cmp whole/source-only/task/weights.safetensors stopped/source-only/task/weights.safetensors' || fail "other weights after the stop"
echo "stopped with 143; $(grep -o 'resumes at step.*' "$work/resumed.log"); the same weights in the end"

# As a Deployment with maxSurge 1 and maxUnavailable 0 does it (k8s/overlays/service-cpu): the new container starts; once it is
# healthy, both have the clients' new connections, then it alone; after the 5 s of preStop the old one gets SIGTERM.
say "rolling updates of the service, while clients send requests"
run teacher publish --run /data/inside --round 1 --to /data/repository 2>/dev/null
$DOCKER network create --internal "$network" >/dev/null
service() { echo "selfsyn-test-service-$1-$$"; }
is() { $DOCKER inspect -f "{{.State.$1}}" "$(service "$2")"; }
begin() {
  options="--detach --rm=false --name $(service "$1") --memory 2g --health-interval 2s" access=ro joined=$network \
    run teacher serve --device cpu --model /data/repository --host 0.0.0.0 --port 8000 >/dev/null
  until [ "$(is Health.Status "$1")" = healthy ]; do
    [ "$(is Running "$1")" = true ] || fail "the service: $($DOCKER logs --tail 3 "$(service "$1")" 2>&1)"
    sleep 0.2
  done
}
endpoints() { $DOCKER exec "$clients" sh -c "printf '%s:8000\n' $* > /tmp/next && mv /tmp/next /tmp/endpoints"; }
clients=selfsyn-test-clients-$$
options="--interactive --name $clients --entrypoint python" joined=$network run teacher - /tmp <docker/clients.py >"$work/clients.log" 2>&1 &
process=$!
begin 0
endpoints "$(service 0)"
for update in $(seq "$UPDATES"); do
  old=$((update - 1))
  begin "$update"
  endpoints "$(service "$old")" "$(service "$update")"
  sleep 1
  endpoints "$(service "$update")"
  sleep 5
  $DOCKER stop --time 60 "$(service "$old")" >/dev/null
  [ "$(is ExitCode "$old")" = 143 ] || fail "the service's exit code: $(is ExitCode "$old"), expected 143"
done
$DOCKER exec "$clients" touch /tmp/end
code=0; wait $process || code=$?
cat "$work/clients.log"
[ $code = 0 ] || fail "rolling updates: requests without an answer"
echo "$UPDATES updates"

say "all is well"
