#!/usr/bin/env bash
# Builds the control plane that the tests, the demo and the bench run against, from the Go modules pinned in go.mod.
# With KUBEBUILDER_ASSETS set, those binaries are used and nothing is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  mkdir -p ../../target
  ln -sfn "$KUBEBUILDER_ASSETS" ../../target/control-plane
  echo "control-plane: using KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS"
  exit 0
fi
if ! command -v go >/dev/null; then
  echo "control-plane: the Go toolchain is needed to build it (https://go.dev/dl, version $(sed -n 's/^go //p' go.mod) or newer)," >&2
  echo "control-plane: or set KUBEBUILDER_ASSETS to a directory with etcd, etcdutl, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok" >&2
  exit 1
fi

kubernetes=$(version k8s.io/kubernetes)
cache_modules control-plane "$(kubernetes_flags "$kubernetes")"
programs=7
[ -x "$cache/kubectl" ] ||
  echo "control-plane: building Kubernetes $kubernetes and etcd from source, once for this machine: about $((20 / $(nproc) + 1)) minutes with its $(nproc) cores to themselves"
build etcd go.etcd.io/etcd/server/v3
build etcdutl go.etcd.io/etcd/etcdutl/v3
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager
build kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler
build kwok sigs.k8s.io/kwok/cmd/kwok
build kubectl k8s.io/kubernetes/cmd/kubectl
ready
