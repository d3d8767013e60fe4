#!/usr/bin/env bash
# Builds the container image: config/image/build.sh [IMAGE]
#
# A static binary in an image from scratch, by buildah: no Docker daemon is needed. Two builds of one commit have one
# digest, in whatever directory, as long as buildah, gcc and musl-tools are of the same versions: these are not pinned. Installs the musl
# target of the toolchain, and musl-tools and buildah where apt-get is.
#
# Leaves in target: image, the root of the image; image.tar, an OCI archive of it, which `skopeo copy`, `podman load` and
# `ctr images import` take; and the image itself in buildah's storage, for `buildah push`.
# REVISION and SOURCE_DATE_EPOCH are those of the last commit unless set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

image=${1:-pytorchjob-operator:dev}
target=$(uname -m)-unknown-linux-musl
directory=${CARGO_TARGET_DIR:-target}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
revision=${REVISION:-$(git describe --always --abbrev=40 --dirty)}

name=image
. tests/build.sh
need musl-gcc musl-tools
need buildah buildah
rustup target add "$target" 2>/dev/null

# Where the sources are, is nobody's business, and would make each machine's binary another one.
paths() { printf -- "$1%s " "$PWD=/build" "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$(rustc --print sysroot)=/rust"; }
export RUSTFLAGS CFLAGS CC_${target//-/_}=musl-gcc
RUSTFLAGS=$(paths --remap-path-prefix=)
CFLAGS=$(paths -ffile-prefix-map=)
cargo build --locked --release --target "$target" --bin pytorchjob-operator

rm -rf target/image
mkdir -p target/image
install -m 755 "$directory/$target/release/pytorchjob-operator" target/image/
# What the Deployment of Kubeflow's training-operator runs.
ln -s pytorchjob-operator target/image/manager

export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
buildah build --quiet --isolation chroot --timestamp "$SOURCE_DATE_EPOCH" --tag "$image" \
  --build-arg "VERSION=$(cargo pkgid | sed 's/.*[#@]//')" --build-arg "REVISION=$revision" --file Dockerfile target/image
rm -f target/image.tar
buildah push --quiet "$image" "oci-archive:target/image.tar:$image"
echo "image: $image is in target/image.tar, $(stat --format=%s target/image/pytorchjob-operator) bytes of program"
