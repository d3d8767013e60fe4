#!/usr/bin/env bash
# Builds the Kueue that `make test-kueue` runs beside the operator, from the Go module pinned in go.mod, and puts the
# manifests of the same version beside it. Nothing is downloaded but Go modules. It goes to a per-user cache keyed by
# what it is built from, so clones share it, and target/kueue links there. Needs target/control-plane for its kubectl.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

version=$(sed -n 's|^\tsigs.k8s.io/kueue \(v[^ ]*\).*|\1|p' go.mod)
flags="-s -w -X sigs.k8s.io/kueue/pkg/version.GitVersion=$version"
key=$( (cat go.mod go.sum; echo "$flags") | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pytorchjob-operator/kueue/$key
mkdir -p "$cache"

# Moved into place only when whole, so an interrupted build is not mistaken for a finished one.
if [ ! -x "$cache/kueue" ]; then
  echo "kueue: building Kueue $version from source, once for this machine; about fifteen minutes on two cores"
  CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$cache/.kueue.$$" sigs.k8s.io/kueue/cmd/kueue
  mv "$cache/.kueue.$$" "$cache/kueue"
fi
if [ ! -f "$cache/kueue.yaml" ]; then
  manifests=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kueue)/config/default
  ../../target/control-plane/kubectl kustomize "$manifests" >"$cache/.kueue.yaml.$$"
  mv "$cache/.kueue.yaml.$$" "$cache/kueue.yaml"
fi
ln -sfn "$cache" ../../target/kueue
echo "kueue: ready in target/kueue"
