#!/usr/bin/env bash
# Builds the Kueue that `make test-kueue` runs beside the operator, and puts the manifests of the same version beside it.
# Needs target/control-plane for its kubectl.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

kueue=$(version sigs.k8s.io/kueue)
cache_modules kueue "-s -w -X sigs.k8s.io/kueue/pkg/version.GitVersion=$kueue"
[ -x "$cache/kueue" ] || echo "kueue: building Kueue $kueue from source, once for this machine; about fifteen minutes on two cores"
build kueue sigs.k8s.io/kueue/cmd/kueue
if [ ! -f "$cache/kueue.yaml" ]; then
  manifests=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kueue)/config/default
  ../../target/control-plane/kubectl kustomize "$manifests" >"$cache/.kueue.yaml.$$"
  mv "$cache/.kueue.yaml.$$" "$cache/kueue.yaml"
fi
ready
