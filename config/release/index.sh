#!/usr/bin/env bash
# Makes one image for several architectures of one image each: config/release/index.sh DESTINATION ARCHIVE…
#
# The archives are OCI archives as `make image` makes them on a machine of each architecture. The destination is a transport with
# an address, docker://ghcr.io/owner/pytorchjob-operator:0.1.0 or, to look at, oci:DIRECTORY:TAG. Prints the digest of the index.
set -euo pipefail

[ $# -ge 2 ] || { sed -n 's/^# //p' "${BASH_SOURCE[0]}" | head -n 1 >&2; exit 2; }
destination=$1
shift
export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
work=$(mktemp -d)
list=pytorchjob-operator-index:$$
trap 'buildah manifest rm "$list" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

buildah manifest create "$list" >/dev/null
for archive in "$@"; do
  buildah manifest add "$list" "oci-archive:$archive" >/dev/null
done
platforms=$(buildah manifest inspect "$list" | jq -r '.manifests[].platform | "\(.os)/\(.architecture)"' | sort)
[ "$(uniq <<<"$platforms" | wc -l)" = $# ] || { echo "release: $# archives are for ${platforms//$'\n'/, }" >&2; exit 1; }
buildah manifest push --quiet --all --format oci --digestfile "$work/digest" "$list" "$destination" >/dev/null
echo "release: ${platforms//$'\n'/, } at $destination" >&2
cat "$work/digest"
