#!/usr/bin/env bash
# Fetches the definitions of Kubeflow Trainer v2, which `make test-trainer` holds the output of `convert` to, from the Go
# module pinned in go.mod. Nothing is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

cache trainer < <(cat go.mod go.sum)
module=github.com/kubeflow/trainer/v2
if [ ! -d "$cache/crds" ]; then
  source=$(go mod download -json "$module@$(version "$module")" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  mkdir "$cache/.crds.$$"
  install -m 644 "$source"/manifests/base/crds/*.yaml "$cache/.crds.$$/"
  mv "$cache/.crds.$$" "$cache/crds"
fi
ready
