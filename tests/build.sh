# What the build scripts in the directories beside this file, and that of the image, share: programs of the Go modules
# that the go.mod of the working directory pins, and Debian's packages. What is built goes to a per-user cache keyed by what it is built from, so
# clones share it, and a link in target/ leads there.

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

# cache NAME: sets `cache` to the directory for what is built from standard input; target/NAME will lead there.
cache() {
  name=$1
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/pytorchjob-operator/$name/$(sha256sum | cut -c1-16)
  mkdir -p "$cache" ../../target
}

# cache_modules NAME FLAGS: the same for programs that are built of go.mod with these linker flags.
cache_modules() {
  flags=$2
  cache "$1" < <(cat go.mod go.sum; echo "$2")
}

# build PROGRAM PACKAGE: says which of $programs it is, if that is set. Moved into place only when whole, so an
# interrupted build is not mistaken for a finished one.
build() {
  number=$((${number:-0} + 1))
  if [ ! -x "$cache/$1" ]; then
    printf '%s: building %s%-24s' "$name" "${programs:+$number of $programs, }" "$1"
    local start=$SECONDS
    CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$cache/.$1.$$" "$2" 2> >(grep -v '^go: downloading ' >&2)
    mv "$cache/.$1.$$" "$cache/$1"
    echo " $((SECONDS - start)) s"
  fi
}

# need COMMAND PACKAGE: installs the package where the command is missing.
need() {
  command -v "$1" >/dev/null && return
  echo "$name: installing $2 for $1"
  { apt-get update && apt-get install --yes --no-install-recommends "$2"; } >/dev/null 2>&1 && command -v "$1" >/dev/null ||
    { echo "$name: $1 is missing and could not be installed: install $2 (Debian's name)" >&2; exit 1; }
}

# ready: leads target/NAME to what was built.
ready() {
  ln -sfn "$cache" "../../target/$name"
  echo "$name: ready in target/$name"
}
