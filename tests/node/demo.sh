#!/usr/bin/env bash
# `make demo-real`: the operator in its image on a real node, and PyTorch training under it. Needs root. Every step waits for
# what it names, and fails if that does not happen. KEEP=1 leaves everything running.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

log=$(mktemp)
saved=$(mktemp)
finish() {
  local status=$?
  [ $status = 0 ] || echo "demo: FAILED at: $step" >&2
  if [ "${KEEP:-}" = 1 ]; then
    echo "demo: export KUBECONFIG=$KUBECONFIG; make node-down ends it"
  else
    [ ! -f target/cluster-down ] || sh target/cluster-down
    rm -f target/cluster-down
  fi
  rm -f "$log" "$saved"
  exit $status
}
trap finish EXIT

# say TEXT: begins a step.
say() {
  step=$1
  printf '\n\033[1m%s\033[0m  (%s s)\n' "$1" "$SECONDS"
}

# run COMMAND…: shows a command, as one would type it, and runs it.
run() {
  local word line='$'
  for word; do
    [[ $word != *[\ \"{]* ]] || word="'$word'"
    line+=" $word"
  done
  printf '\033[2m%s\033[0m\n' "$line"
  "$@"
}

# until_true SECONDS COMMAND…: tries the command until it succeeds.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "demo: not in time: $*" >&2; return 1; }
    sleep 0.2
  done
}

kubectl() { target/control-plane/kubectl "$@"; }
# state JOB TYPE: waits for a condition of a job.
state() { run kubectl wait "pytorchjob/$1" "--for=condition=$2" --timeout=180s; }
# test_checkpoint POD: it sees a checkpoint.
test_checkpoint() { kubectl exec "$1" -- test -s /checkpoints/state.pt; }
# Not through a pipe: grep ends it at the first match, and kubectl, which still writes, would fail by that.
logs_have() { grep -q "$2" <<<"$(kubectl logs "$1" 2>/dev/null)"; }
# logs_lack POD TEXT: it has written something, and not this.
logs_lack() {
  local logs
  logs=$(kubectl logs "$1")
  [ -n "$logs" ] && ! grep -q "$2" <<<"$logs" || { echo "demo: the log of $1 has: $2" >&2; return 1; }
}
# uids POD…: which objects they are.
uids() { kubectl get pods "$@" -o jsonpath='{.items[*].metadata.uid}'; }

step="start the node"
say "A control plane and a real node: kubelet, containerd, DNS"
KEEP=1 cargo run --quiet --locked --package pytorchjob-test-cluster real >"$log"
grep '^# node' "$log"
KUBECONFIG=$(sed -n 's/^export KUBECONFIG=//p' "$log")
export KUBECONFIG
run kubectl get nodes -o wide

say "Install the operator as the README says, from the image that make image built"
run kubectl apply --server-side -k config/default
run kubectl -n kubeflow rollout status deployment/pytorchjob-operator --timeout=120s
run kubectl -n kubeflow get pods -o wide

say "Distributed data parallel: one Master and two Workers over gloo"
run kubectl apply -f examples/ddp.yaml
until_true 120 kubectl logs ddp-master-0
run kubectl logs --follow ddp-master-0
state ddp Succeeded
for replica in master-0 worker-0 worker-1; do logs_have "ddp-$replica" "done, all 3 ranks agree"; done
run kubectl get pytorchjob ddp -o wide

say "Elastic: torchrun goes on without a worker, and takes its successor in"
run kubectl apply -f examples/elastic.yaml
until_true 120 logs_have elastic-worker-0 "of 3, step 20"
run kubectl logs elastic-worker-0
survivors=$(uids elastic-worker-0 elastic-worker-1)
run kubectl delete pod elastic-worker-2
until_true 120 logs_have elastic-worker-2 "of 3, step 20"
[ "$(uids elastic-worker-0 elastic-worker-1)" = "$survivors" ]
state elastic Succeeded
run kubectl logs --tail=3 elastic-worker-2
run kubectl get pytorchjob elastic -o wide

say "A patch of activeDeadlineSeconds stops a training that runs, and cleanPodPolicy says what is left"
run kubectl apply -f examples/simple.yaml
until_true 120 logs_have simple-master-0 "step 3"
run kubectl patch pytorchjob simple --type=merge -p '{"spec":{"activeDeadlineSeconds":5,"cleanPodPolicy":"All"}}'
state simple Failed
run kubectl get pytorchjob simple -o wide
until_true 60 bash -c '[ -z "$(target/control-plane/kubectl get pods -l training.kubeflow.org/job-name=simple -o name)" ]'
run kubectl get pods -l training.kubeflow.org/job-name=simple

say "A TTL deletes the job itself"
run kubectl patch pytorchjob simple --type=merge -p '{"spec":{"ttlSecondsAfterFinished":1}}'
run kubectl wait pytorchjob/simple --for=delete --timeout=60s

# volume NAME: a volume for claims, as a cluster with a provisioner makes one.
volume() {
  run kubectl apply -f - <<VOLUME
apiVersion: v1
kind: PersistentVolume
metadata: { name: $1 }
spec: { capacity: { storage: 1Gi }, accessModes: [ReadWriteMany], hostPath: { path: /run/$1, type: DirectoryOrCreate } }
VOLUME
}

say "One rank dies: all start again together, from the last checkpoint, and it counts as one restart"
volume restart
run kubectl apply -f examples/restart.yaml
until_true 120 test_checkpoint restart-worker-1
run kubectl exec restart-worker-0 --container pytorch -- sh -c 'kill -INT 1'
state restart Restarting
run kubectl get pytorchjob restart -o wide
state restart Succeeded
run kubectl logs restart-master-0
logs_have restart-master-0 "done after step 400"
logs_lack restart-master-0 "begins with step 0$"
run kubectl get pytorchjob restart -o wide
[ "$(kubectl get pytorchjob restart -o jsonpath='{.status.restarts}')" = 1 ]

say "A suspended training saves a checkpoint on SIGTERM, exits with 0, has not succeeded, and goes on from there"
volume checkpoints
run kubectl apply -f examples/checkpoint.yaml
until_true 120 logs_have checkpoint-worker-0 "begins with step 0"
(kubectl logs --follow checkpoint-master-0 | tee "$saved" || true) &
follower=$!
run kubectl patch pytorchjob checkpoint --type=merge -p '{"spec":{"runPolicy":{"suspend":true}}}'
state checkpoint Suspended
until_true 60 bash -c '[ -z "$(target/control-plane/kubectl get pods -l training.kubeflow.org/job-name=checkpoint -o name)" ]'
wait $follower
step_saved=$(sed -n 's/.*saved step //p' "$saved")
[ -n "$step_saved" ] || { echo "demo: nothing was saved on SIGTERM" >&2; exit 1; }
run kubectl get pytorchjob checkpoint -o wide
run kubectl patch pytorchjob checkpoint --type=merge -p '{"spec":{"runPolicy":{"suspend":false}}}'
state checkpoint Succeeded
run kubectl logs checkpoint-master-0
logs_have checkpoint-master-0 "done after step 600"
logs_have checkpoint-master-0 "begins with step $step_saved$"
run kubectl get pytorchjobs -o wide

say "Done"
