#!/usr/bin/env bash
# Builds the actionlint that `make lint-workflows` reads .github/workflows with, from the Go module pinned in go.mod.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

cache_modules actionlint "-s -w"
build actionlint github.com/rhysd/actionlint/cmd/actionlint
ready
