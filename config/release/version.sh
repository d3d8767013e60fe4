#!/usr/bin/env bash
# Prepares a release: config/release/version.sh VERSION
#
# Writes the version wherever it stands, makes what is unreleased in CHANGELOG.md the section of this version, and leaves the
# rest, from review to the tag, to people (RELEASE.md).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "release: $*" >&2; exit 1; }
new=${1:-}
[[ $new =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || fail "'$new' is no version such as 0.2.0 or 0.2.0-rc.1"
old=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
[ "$new" != "$old" ] || ! grep -q "^## $new" CHANGELOG.md || fail "$new has been prepared already"

sed -i "s/^version = \"$old\"\$/version = \"$new\"/" Cargo.toml
cargo update --quiet --workspace --offline
sed -i "s/^\(version\|appVersion\): .*/\1: $new/; s/^\(  artifacthub.io\/prerelease:\) .*/\1 \"$([[ $new == *-* ]] && echo true || echo false)\"/" \
  config/helm/pytorchjob-operator/Chart.yaml
sed -i "s/pytorchjob-operator:$old/pytorchjob-operator:$new/; s/ref=v$old/ref=v$new/; s/--tag v$old/--tag v$new/; s/newTag: $old/newTag: $new/; s/image.tag=$old/image.tag=$new/" \
  README.md Dockerfile docs/*.md
sed -i "s/v$old/v$new/g" config/krew/pytorchjob.yaml
sed -i "s/^## Unreleased\$/## Unreleased\n\n## $new - $(date -u +%Y-%m-%d)/" CHANGELOG.md
echo "release: $old is $new now; read the diff, then config/release/check.sh"
