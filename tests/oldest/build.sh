#!/usr/bin/env bash
# Builds the oldest Kubernetes that the operator supports, with which `make test-oldest` runs tests, from the Go modules
# pinned in go.mod. What has no version of Kubernetes of its own to match is that of `make control-plane`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

kubernetes=$(version k8s.io/kubernetes)
cache_modules oldest "$(kubernetes_flags "$kubernetes")"
[ -x "$cache/kube-controller-manager" ] ||
  echo "oldest: building Kubernetes $kubernetes from source, once for this machine; about five minutes on two cores"
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager
for program in etcd kubectl; do
  ln -sfn "$(realpath "../../target/control-plane/$program")" "$cache/$program"
done
ready
