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

./config/image/build.sh pytorchjob-operator:check
mv target/image.tar "$work/first.tar"
git archive HEAD | tar -x --one-top-level="$work/elsewhere"
REVISION=$(git describe --always --abbrev=40 --dirty) SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
  CARGO_TARGET_DIR=$work/target "$work/elsewhere/config/image/build.sh" pytorchjob-operator:check
[ "$(index "$work/first.tar")" = "$(index "$work/elsewhere/target/image.tar")" ] || fail "two builds differ"

size=$(stat --format=%s "$work/first.tar")
[ "$size" -le $((15 * 1024 * 1024)) ] || fail "$size bytes are more than 15 MiB"

export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
config=$(buildah inspect --type image --format '{{json .OCIv1}}' pytorchjob-operator:check)
for part in '"User":"65532:65532"' '"Entrypoint":["/pytorchjob-operator"]' '"org.opencontainers.image.version":"'; do
  grep -qF -- "$part" <<<"$config" || fail "$part is not in $config"
done

for name in pytorchjob-operator manager; do
  said=$(chroot --userspec=65532:65532 target/image "/$name" --version)
  [[ $said == pytorchjob-operator\ * ]] || fail "/$name --version: $said"
done
echo "image: $(index "$work/first.tar" | sed 's/.*"digest":"\([^"]*\)".*/\1/'), $size bytes, made twice; runs alone as user 65532"
