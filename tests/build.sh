# What the build scripts in the directories beside this file share: programs of the Go modules that the go.mod of the
# working directory pins. Nothing is downloaded but Go modules. The programs go to a per-user cache keyed by what they
# are built from, so clones share them, and a link in target/ leads there.

# version MODULE: the version that go.mod pins.
version() {
  sed -n "s|^\t$1 \(v[^ ]*\).*|\1|p" go.mod
}

# kubernetes_flags VERSION: without these linker flags the programs of Kubernetes call themselves v0.0.0 and get their
# feature gates wrong.
kubernetes_flags() {
  local minor=${1#v1.} package=k8s.io/component-base/version
  echo "-s -w -X $package.gitVersion=$1 -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
}

# cache NAME FLAGS: sets `cache` to the directory for what is built with these linker flags; target/NAME will lead there.
cache() {
  name=$1 flags=$2
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/pytorchjob-operator/$name/$( (cat go.mod go.sum; echo "$flags") | sha256sum | cut -c1-16)
  mkdir -p "$cache" ../../target
}

# build PROGRAM PACKAGE: moved into place only when whole, so an interrupted build is not mistaken for a finished one.
build() {
  if [ ! -x "$cache/$1" ]; then
    printf '%s: building %-24s' "$name" "$1"
    local start=$SECONDS
    CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$cache/.$1.$$" "$2"
    mv "$cache/.$1.$$" "$cache/$1"
    echo " $((SECONDS - start)) s"
  fi
}

# ready: leads target/NAME to what was built.
ready() {
  ln -sfn "$cache" "../../target/$name"
  echo "$name: ready in target/$name"
}
