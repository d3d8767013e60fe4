#!/usr/bin/env bash
# Builds the control plane that the tests, the demo and the bench run against, from the Go modules pinned in go.mod.
# Nothing is downloaded but Go modules. The binaries go to a per-user cache keyed by what they are built from, so clones
# share them, and target/control-plane links there. With KUBEBUILDER_ASSETS set, those binaries are used and nothing is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

link=../../target/control-plane
mkdir -p ../../target
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  ln -sfn "$KUBEBUILDER_ASSETS" "$link"
  echo "control plane: using KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS"
  exit 0
fi
if ! command -v go >/dev/null; then
  echo "control plane: the Go toolchain is needed to build it (https://go.dev/dl, version $(sed -n 's/^go //p' go.mod) or newer)," >&2
  echo "control plane: or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok" >&2
  exit 1
fi

kubernetes=$(sed -n 's|^\tk8s.io/kubernetes \(v[^ ]*\).*|\1|p' go.mod)
minor=${kubernetes#v1.}
# Without these the server calls itself v0.0.0 and gets its feature gates wrong.
version=k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}"

key=$( (cat go.mod go.sum; echo "$flags") | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pytorchjob-operator/control-plane/$key
mkdir -p "$cache"

# build NAME PACKAGE: one binary, moved into place only when whole, so an interrupted build is not mistaken for a finished one.
build() {
  if [ ! -x "$cache/$1" ]; then
    printf 'control plane: building %-24s' "$1"
    local start=$SECONDS
    CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$cache/.$1.$$" "$2"
    mv "$cache/.$1.$$" "$cache/$1"
    echo " $((SECONDS - start)) s"
  fi
}
[ -x "$cache/kubectl" ] || echo "control plane: building Kubernetes $kubernetes and etcd from source, once for this machine; about ten minutes on two cores"
build etcd go.etcd.io/etcd/server/v3
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager
build kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler
build kwok sigs.k8s.io/kwok/cmd/kwok
build kubectl k8s.io/kubernetes/cmd/kubectl
ln -sfn "$cache" "$link"
echo "control plane: ready in target/control-plane"
