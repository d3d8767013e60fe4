#!/usr/bin/env bash
# Makes the files of a release in target/published: config/release/package.sh REPOSITORY DIGEST
#
# install.yaml and the chart name the image by REPOSITORY and DIGEST, so what was signed is what runs. What target/*.cdx.json say of the
# image is added, the archives of plugin.sh with krew's manifest of them, and the sums of all files. Needs helm, of PATH or of
# `make test-chart`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "release: $*" >&2; exit 1; }
repository=${1:-} digest=${2:-}
[ -n "$repository" ] || fail "which repository has the image?"
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "'$digest' is no digest"
helm=$(command -v helm || echo "$PWD/target/helm/helm")
[ -x "$helm" ] || fail "helm is missing"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

rm -rf target/published
mkdir -p target/published
sed "s|image: pytorchjob-operator:dev|image: $repository@$digest|" dist/install.yaml >target/published/install.yaml
grep -q "image: $repository@$digest" target/published/install.yaml || fail "dist/install.yaml names no image"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# With the files instead of the links, and the image instead of the name that a checkout has.
cp -rL config/helm/pytorchjob-operator "$work"
sed -i "s|^  repository: pytorchjob-operator\$|  repository: $repository|; s|^  digest: \"\"\$|  digest: $digest|" \
  "$work/pytorchjob-operator/values.yaml"
cp README.md LICENSE "$work/pytorchjob-operator/"
"$helm" package "$work/pytorchjob-operator" --destination target/published >/dev/null
"$helm" template release "target/published/pytorchjob-operator-$version.tgz" >"$work/rendered.yaml"
grep -q "image: \"\?$repository@$digest" "$work/rendered.yaml" || fail "the chart names another image"

find target -maxdepth 1 -name '*.cdx.json' -exec cp {} target/published/ \;

# The manifest has a checksum below each archive's address; the repository is the image's, without its registry.
manifest=$(sed "s|github.com/OWNER/pytorchjob-operator|github.com/${repository#*/}|" config/krew/pytorchjob.yaml)
for archive in $(sed -n 's|^ *uri: .*/||p' config/krew/pytorchjob.yaml); do
  [ -f "target/$archive" ] || fail "target/$archive is missing: config/release/plugin.sh makes it"
  cp "target/$archive" target/published/
  sum=$(sha256sum "target/$archive" | cut -d ' ' -f 1)
  manifest=$(sed "\|/$archive\$|,/sha256:/ s|sha256: \"0*\"|sha256: \"$sum\"|" <<<"$manifest")
done
cat >target/published/pytorchjob.yaml <<<"$manifest"
! grep -q 'OWNER\|"00*"' target/published/pytorchjob.yaml || fail "krew's manifest is not filled in"

config/release/notes.sh "$version" >"$work/notes"
(cd target/published && sha256sum -- * >SHA256SUMS)
cp "$work/notes" target/release-notes.md
echo "release: $(find target/published -type f | wc -l) files in target/published, notes in target/release-notes.md"
