#!/usr/bin/env bash
# Tries the scripts of a release on a copy of the working tree: a version is prepared, checked and packaged, an image for two
# architectures is made of two archives, and what must be refused is. Publishes nothing. Needs buildah, jq and what package.sh needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "release: $*" >&2; exit 1; }
refused() { ! "$@" >/dev/null 2>&1 || fail "not refused: $*"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference --target-directory "$work"
mkdir -p "$work/target"
[ ! -e target/helm ] || ln -s "$(realpath target/helm)" "$work/target/helm"
cd "$work"

config/release/check.sh
refused config/release/version.sh one
refused config/release/check.sh v9.8.7
config/release/version.sh 9.8.7-rc.1
config/release/check.sh v9.8.7-rc.1
grep -q '  artifacthub.io/prerelease: "true"' config/helm/pytorchjob-operator/Chart.yaml || fail "a candidate is no pre-release"
config/release/version.sh 9.8.7
sed -i 's/^## 9.8.7 - .*/&\n\n* Something that users notice./' CHANGELOG.md
config/release/check.sh v9.8.7
refused config/release/version.sh 9.8.7
[ "$(config/release/notes.sh 9.8.7)" = "* Something that users notice." ] || fail "the notes are those of another version"
sed -i 's/^appVersion: .*/appVersion: 9.8.6/' config/helm/pytorchjob-operator/Chart.yaml
refused config/release/check.sh
sed -i 's/^appVersion: .*/appVersion: 9.8.7/' config/helm/pytorchjob-operator/Chart.yaml

# Two images with nothing in them, of which one says that it is for the other architecture.
export STORAGE_DRIVER=vfs
for architecture in amd64 arm64; do
  container=$(buildah from scratch)
  buildah config --arch "$architecture" "$container"
  buildah commit --quiet --rm "$container" "oci-archive:$work/$architecture.tar" >/dev/null
done
digest=$(config/release/index.sh "oci:$work/index:9.8.7" "$work/amd64.tar" "$work/arm64.tar")
[ -f "$work/index/blobs/sha256/${digest#sha256:}" ] || fail "$digest is not what was pushed"
[ "$(jq '.manifests | length' "$work/index/blobs/sha256/${digest#sha256:}")" = 2 ] || fail "the index has not both images"
refused config/release/index.sh "oci:$work/same:9.8.7" "$work/amd64.tar" "$work/amd64.tar"

refused config/release/package.sh ghcr.io/example/pytorchjob-operator latest
echo '{}' >target/image-amd64.cdx.json
refused config/release/plugin.sh amd64
refused config/release/package.sh ghcr.io/example/pytorchjob-operator "$digest"
mkdir target/image
for architecture in amd64 arm64; do
  printf '#!/bin/sh\necho %s\n' "$architecture" >target/image/pytorchjob-operator
  chmod +x target/image/pytorchjob-operator
  config/release/plugin.sh "$architecture"
done
config/release/package.sh ghcr.io/example/pytorchjob-operator "$digest"
(cd target/published && sha256sum --quiet --check SHA256SUMS && ls install.yaml pytorchjob-operator-9.8.7.tgz image-amd64.cdx.json >/dev/null)

# What krew does with its manifest: it takes the archive of a platform, compares the checksum and runs the program in it.
for architecture in amd64 arm64; do
  archive=kubectl-pytorchjob-linux-$architecture.tar.gz
  sum=$(grep --after-context=1 "uri: https://github.com/example/pytorchjob-operator/releases/download/v9.8.7/$archive\$" \
    target/published/pytorchjob.yaml | sed -n 's/.*sha256: "\(.*\)"/\1/p')
  sha256sum --quiet --check <<<"$sum  target/published/$archive" || fail "krew would refuse $archive"
  [ "$(tar -xzOf "target/published/$archive" kubectl-pytorchjob | sh)" = "$architecture" ] || fail "$archive has another program"
done
echo "release: the scripts do what they say; nothing was published"
