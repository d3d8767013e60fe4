#!/usr/bin/env bash
# Checks what `make image` makes: two builds in two directories have one digest; at most 15 MiB; not root; labels; the
# program runs with nothing beside it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "image: $*" >&2; exit 1; }

# index ARCHIVE: what the archive holds, digest first.
index() { tar -xOf "$1" index.json | sed 's/,"annotations":{[^}]*}//'; }

# build NAME TARGET: builds what is committed in a directory of its own.
export REVISION SOURCE_DATE_EPOCH
REVISION=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
build() {
  git archive "$REVISION" | tar -x --one-top-level="$work/$1"
  CARGO_TARGET_DIR=$2 "$work/$1/config/image/build.sh" pytorchjob-operator:check
}
build one "$PWD/target"
build two "$work/target"
one=$(index "$work/one/target/image.tar") two=$(index "$work/two/target/image.tar")
[ "$one" = "$two" ] || fail "two builds differ: $one and $two"

size=$(stat --format=%s "$work/one/target/image.tar")
[ "$size" -le $((15 * 1024 * 1024)) ] || fail "$size bytes are more than 15 MiB"

export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
config=$(buildah inspect --type image --format \
  '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{index .OCIv1.Config.Labels "org.opencontainers.image.revision"}}' \
  pytorchjob-operator:check)
[ "$config" = "65532:65532 [/pytorchjob-operator] $REVISION" ] || fail "user, entry point and revision are $config"

for name in pytorchjob-operator manager; do
  said=$(chroot --userspec=65532:65532 "$work/two/target/image" "/$name" --version)
  [[ $said == pytorchjob-operator\ * ]] || fail "/$name --version: $said"
done
echo "image: $(sed 's/.*"digest":"\([^"]*\)".*/\1/' <<<"$one"), $size bytes, made twice; runs alone as user 65532"
