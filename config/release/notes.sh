#!/usr/bin/env bash
# Prints what CHANGELOG.md says of a version: config/release/notes.sh VERSION
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

awk -v version="$1" '/^## / { section = $2; next } section == version' CHANGELOG.md | sed '/./,$!d'
