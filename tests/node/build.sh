#!/usr/bin/env bash
# Builds the programs of the node that `make node` runs: kubelet and CoreDNS from the Go modules pinned in go.mod, and the
# process that holds pods and the node itself together, as a program and as an image. containerd, runc and the CNI plugins
# are Debian's. Needs root, and says what else is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

name=node
[ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] || { echo "node: namespaces, mounts and cgroups need root on Linux" >&2; exit 1; }
need containerd containerd
need runc runc
need ip iproute2
need nsenter util-linux
need zstd zstd
[ -x /usr/lib/cni/bridge ] || { need /usr/lib/cni/bridge containernetworking-plugins; }

kubernetes=$(version k8s.io/kubernetes)
cache_modules node "$(kubernetes_flags "$kubernetes")"
[ -x "$cache/coredns" ] || echo "node: building the kubelet $kubernetes and CoreDNS from source, once for this machine; about six minutes on two cores"
build kubelet k8s.io/kubernetes/cmd/kubelet
build coredns github.com/coredns/coredns
if [ pause.c -nt "$cache/pause.tar" ]; then
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  "${CC:-cc}" -Os -static -Wall -Wextra -o "$root/pause" pause.c
  ./oci.sh "$root" docker.io/local/pause:1 "$cache/pause.tar" '{"Entrypoint":["/pause"]}'
  install "$root/pause" "$cache/"
fi
ready
