#!/usr/bin/env bash
# Starts a real node, ends it, and fails if anything is left of it: interfaces, routes, mounts, control groups, processes or
# files. Needs root, and that no other node comes or goes meanwhile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

trace() {
  {
    ls -d /sys/class/net/*
    ip route show table all
    cut -d ' ' -f 2 /proc/mounts
    find /sys/fs/cgroup -maxdepth 4 -type d -name '*pytorchjob-test*'
    ls -d /run/* /run/netns/* /var/lib/* /var/log/* /etc/cni/* /opt/cni/* "${TMPDIR:-/tmp}"/pytorchjob-test-* 2>/dev/null || true
    ps -eo comm= | grep -E '^(kubelet|containerd|coredns|etcd|kube-|runc|pause)' || true
  } | sort
}

# One that was there before may still be ending.
for _ in $(seq 300); do
  [ -e /sys/class/net/ptj-node ] || break
  sleep 0.2
done
before=$(trace)
make node >/dev/null
there=$(comm -13 <(echo "$before") <(trace))
make node-down
[ -n "$there" ] || { echo "node: it left no trace while it was there, so none is looked for" >&2; exit 1; }
left=$(comm -13 <(echo "$before") <(trace))
[ -z "$left" ] || { printf 'node: this is left of it:\n%s\n' "$left" >&2; exit 1; }
echo "node: nothing is left of it, of $(wc -l <<<"$there") traces"
