#!/usr/bin/env bash
# Builds Kubeflow's operator, from which `make test-take-over` takes jobs over and to which it hands them back, and puts
# its definition of PyTorchJobs beside it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

cache_modules training-operator "-s -w"
[ -x "$cache/training-operator.v1" ] ||
  echo "training-operator: building training-operator $(version github.com/kubeflow/training-operator) from source, once for this machine; three minutes on two cores"
build training-operator.v1 github.com/kubeflow/training-operator/cmd/training-operator.v1
module=$(go list -m -f '{{.Dir}}' github.com/kubeflow/training-operator)
install -m 644 "$module/manifests/base/crds/kubeflow.org_pytorchjobs.yaml" "$cache/"

# The definitions under which the jobs of older clusters were stored.
mkdir -p "$cache/definitions"
for version in v1.4.0 v1.5.0 v1.6.0 v1.7.0 v1.8.1; do
  [ ! -f "$cache/definitions/$version.yaml" ] || continue
  module=$(go mod download -json "github.com/kubeflow/training-operator@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  install -m 644 "$module/manifests/base/crds/kubeflow.org_pytorchjobs.yaml" "$cache/definitions/$version.yaml"
done
install -m 644 "$cache/kubeflow.org_pytorchjobs.yaml" "$cache/definitions/$(version github.com/kubeflow/training-operator).yaml"
ready
