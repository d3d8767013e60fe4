#!/usr/bin/env bash
# Checks that everything states one version: config/release/check.sh [TAG]
#
# With a tag also that it is that of the version, and that CHANGELOG.md says what is in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "release: $*" >&2; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | sort -u)
[[ $version != *$'\n'* ]] || fail "Cargo.toml has several versions: ${version//$'\n'/, }"
cargo metadata --locked --offline --no-deps --format-version 1 >/dev/null || fail "Cargo.lock is out of date"

# stated FILE PATTERN: every match of the pattern, of which the version is the group, states the version.
stated() {
  local found
  found=$(sed -n "s/$2.*/\1/p" "$1" | sort -u)
  [ "$found" = "$version" ] || fail "$1 states ${found:-no version} where Cargo.toml states $version"
}
chart=config/helm/pytorchjob-operator/Chart.yaml
stated $chart '^version: \([^ ]*\)'
stated $chart '^appVersion: \([^ ]*\)'
stated config/krew/pytorchjob.yaml '^  version: v\([^ ]*\)'
for page in README.md Dockerfile docs/install.md docs/operations.md; do
  stated $page '.*pytorchjob-operator:\([0-9][0-9A-Za-z.-]*\)'
done
stated docs/install.md '.*ref=v\([0-9][0-9A-Za-z.-]*\)'
stated docs/install.md '.*--tag v\([0-9][0-9A-Za-z.-]*\)'
stated docs/install.md '.*image.tag=\([0-9][0-9A-Za-z.-]*\)'

if [ $# -gt 0 ]; then
  [ "$1" = "v$version" ] || fail "the tag is $1 and the version $version"
  notes=$(config/release/notes.sh "$version")
  [ -n "$notes" ] || fail "CHANGELOG.md says nothing of $version"
fi
echo "release: everything states $version"
