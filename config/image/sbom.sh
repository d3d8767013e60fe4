#!/usr/bin/env bash
# Writes target/image.cdx.json: what the image is made of, as CycloneDX. Installs cargo-cyclonedx, and jq where apt-get is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

CYCLONEDX=0.5.9
target=$(uname -m)-unknown-linux-musl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v jq >/dev/null || { apt-get update && apt-get install --yes jq; } >/dev/null 2>&1 ||
  { echo "sbom: jq is missing and could not be installed" >&2; exit 1; }
cargo cyclonedx --version 2>/dev/null | grep -q " $CYCLONEDX\$" ||
  cargo install --quiet --locked --debug --force cargo-cyclonedx --version "$CYCLONEDX"

# It writes beside the manifest, and counts what only the tests need: the dependencies that are linked are in the tree.
git archive HEAD | tar -x --one-top-level="$work/build"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
(cd "$work/build" && cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$target" --no-build-deps \
  --override-filename image.cdx)
cargo tree --locked --package pytorchjob-operator --edges normal --target "$target" --prefix none --format '{p}' |
  awk '{ print $1 "@" substr($2, 2) }' | sort -u >"$work/linked"
mkdir -p target
sed "s|$work/build|/build|g" "$work/build/image.cdx.json" | jq --rawfile linked "$work/linked" '
  ($linked | split("\n")) as $linked
  | .components |= map(select("\(.name)@\(.version)" | IN($linked[])))
  | ([.metadata.component["bom-ref"]] + [.components[]["bom-ref"]]) as $kept
  | .dependencies |= map(select(.ref | IN($kept[])) | if .dependsOn then .dependsOn |= map(select(IN($kept[]))) else . end)
' >target/image.cdx.json
echo "sbom: $(jq '.components | length' target/image.cdx.json) components in target/image.cdx.json"
