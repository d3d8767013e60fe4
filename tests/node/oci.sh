#!/usr/bin/env bash
# Writes an OCI archive of one layer: tests/node/oci.sh ROOT IMAGE ARCHIVE CONFIG
#
# ROOT is the directory that becomes the image, IMAGE its full name, CONFIG the image's configuration as JSON, for example
# {"Entrypoint":["/pause"]}. `ctr images import` takes the archive.
set -euo pipefail
root=$1 image=$2 archive=$3 config=$4

work=$(mktemp -d "$archive.XXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/blobs/sha256"

# blob FILE TYPE: moves the file to its place, and prints its descriptor.
blob() {
  local digest size
  digest=$(sha256sum "$1" | cut -d' ' -f1) size=$(stat --format=%s "$1")
  mv "$1" "$work/blobs/sha256/$digest"
  printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s' "$2" "$digest" "$size"
}

tar --create --file "$work/layer.tar" --directory "$root" --numeric-owner --sort=name .
diff=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
zstd --quiet -3 --threads=0 --rm "$work/layer.tar" -o "$work/layer"
layer=$(blob "$work/layer" layer.v1.tar+zstd)
printf '{"os":"linux","architecture":"%s","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
  "$(dpkg --print-architecture)" "$config" "$diff" >"$work/config"
configuration=$(blob "$work/config" config.v1+json)
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s},"layers":[%s}]}' \
  "$configuration" "$layer" >"$work/manifest"
manifest=$(blob "$work/manifest" manifest.v1+json)
printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"io.containerd.image.name":"%s"}}]}' "$manifest" "$image" >"$work/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
tar --create --file "$archive.part" --directory "$work" oci-layout index.json blobs
mv "$archive.part" "$archive"
