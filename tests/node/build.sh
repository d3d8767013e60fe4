#!/usr/bin/env bash
# Builds the programs of the node that `make node` runs: kubelet and CoreDNS from the Go modules pinned in go.mod, and the
# process that holds pods and the node itself together, as a program and as an image; and an image with a shell. containerd,
# runc and the CNI plugins are Debian's. Needs root, and says what else is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

name=node
[ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] || { echo "node: namespaces, mounts and cgroups need root on Linux" >&2; exit 1; }
unshare --mount --net --pid --fork true 2>/dev/null || { echo "node: root may not make namespaces here" >&2; exit 1; }
for group in /sys/fs/cgroup/ /sys/fs/cgroup/*/; do
  [ -e "${group}cgroup.procs" ] || continue
  mkdir "${group}pytorchjob-test-probe" 2>/dev/null && rmdir "${group}pytorchjob-test-probe" ||
    { echo "node: root may not make cgroups in $group" >&2; exit 1; }
  [ "$group" != /sys/fs/cgroup/ ] || break # There is one hierarchy.
done
need containerd containerd
need runc runc
need ip iproute2
need nsenter util-linux
need zstd zstd
need busybox busybox-static
[ -x /usr/lib/cni/bridge ] || { need /usr/lib/cni/bridge containernetworking-plugins; }

kubernetes=$(version k8s.io/kubernetes)
cache_modules node "$(kubernetes_flags "$kubernetes")"
[ -x "$cache/coredns" ] || echo "node: building the kubelet $kubernetes and CoreDNS from source, once for this machine; about six minutes on two cores"
build kubelet k8s.io/kubernetes/cmd/kubelet
build coredns github.com/coredns/coredns
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
if [ pause.c -nt "$cache/pause.tar" ]; then
  mkdir "$root/pause"
  "${CC:-cc}" -Os -static -Wall -Wextra -o "$root/pause/pause" pause.c
  ./oci.sh "$root/pause" docker.io/local/pause:1 "$cache/pause.tar" '{"Entrypoint":["/pause"]}'
  install "$root/pause/pause" "$cache/"
fi
if [ build.sh -nt "$cache/shell.tar" ]; then
  mkdir -p "$root/shell/bin" "$root/shell/tmp"
  chmod 1777 "$root/shell/tmp"
  for applet in $(busybox --list); do ln -sf busybox "$root/shell/bin/$applet"; done
  # A shell that does not take busybox' own nslookup, which calls a name unknown that one of the domains of a pod has not.
  rm -f "$root/shell/bin/"{busybox,sh,nslookup}
  cp "$(command -v busybox)" "$root/shell/bin/"
  cp "$(command -v dash)" "$root/shell/bin/sh"
  cp "$(command -v getent)" "$root/shell/bin/getent"
  ldd "$(command -v dash)" "$(command -v getent)" | grep -o '/[^ :]*' | grep -F .so | sort -u | xargs cp --parents --dereference --target-directory "$root/shell"
  printf '#!/bin/sh\nexec getent hosts "$1"\n' >"$root/shell/bin/nslookup"
  chmod 755 "$root/shell/bin/nslookup"
  ./oci.sh "$root/shell" docker.io/local/shell:1 "$cache/shell.tar" '{"Env":["PATH=/bin"]}'
fi
ready
