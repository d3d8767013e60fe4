#!/usr/bin/env bash
# Makes the archive that krew installs `kubectl pytorchjob` from, of the program in target/image:
# config/release/plugin.sh ARCHITECTURE
#
# Leaves target/kubectl-pytorchjob-linux-ARCHITECTURE.tar.gz. Two archives of one program have one checksum.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "release: $*" >&2; exit 1; }
architecture=${1:-}
[ -n "$architecture" ] || fail "which architecture is the program for?"
[ -x target/image/pytorchjob-operator ] || fail "target/image has no program: make image first"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -m 755 target/image/pytorchjob-operator "$work/kubectl-pytorchjob"
install -m 644 LICENSE "$work/LICENSE"
tar --create --directory "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner LICENSE kubectl-pytorchjob |
  gzip --no-name >"target/kubectl-pytorchjob-linux-$architecture.tar.gz"
