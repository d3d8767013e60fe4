#!/usr/bin/env bash
# Builds the Helm that `make test-chart` tries the chart with, from the Go module pinned in go.mod.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

# Without these the program takes every cluster for one of Kubernetes 1.20.
kubernetes=$(cd ../cluster && version k8s.io/kubernetes)
minor=${kubernetes#v1.}
package=helm.sh/helm/v3/pkg
cache_modules helm "-s -w -X $package/chartutil.k8sVersionMajor=1 -X $package/chartutil.k8sVersionMinor=${minor%%.*}"
[ -x "$cache/helm" ] || echo "helm: building Helm $(version helm.sh/helm/v3) from source, once for this machine; one minute on two cores"
build helm helm.sh/helm/v3/cmd/helm
ready
