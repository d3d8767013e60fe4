#!/usr/bin/env bash
# Builds the Prometheus that `make test-monitoring` tries alerts and dashboard on, from the Go module pinned in go.mod.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

cache_modules prometheus "-s -w"
[ -x "$cache/prometheus" ] ||
  echo "prometheus: building Prometheus $(version github.com/prometheus/prometheus) from source, once for this machine; four minutes on two cores"
build promtool github.com/prometheus/prometheus/cmd/promtool
build prometheus github.com/prometheus/prometheus/cmd/prometheus
ready
