#!/usr/bin/env bash
# Builds the image docker.io/local/torch:1 that real training runs in: PyTorch for CPUs from Debian's packages, into
# target/torch/torch.tar. The archive goes to a per-user cache keyed by this script, so it is built once for a machine:
# two minutes and 400 MB of packages. Needs root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../build.sh

suite=trixie
cache torch < <(cat torch.sh oci.sh)
if [ ! -f "$cache/torch.tar" ]; then
  need debootstrap debootstrap
  need zstd zstd
  echo "torch: building the image of PyTorch from Debian's packages, once for this machine; about two minutes"
  mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' "Created-By: Packages" | awk '!/-/ { print $1; exit }')
  root=$(mktemp -d "$cache/root.XXXX")
  trap 'rm -rf "$root"' EXIT
  debootstrap --variant=minbase --include=python3-torch "$suite" "$root" "$mirror" >"$cache/debootstrap.log" 2>&1 ||
    { tail -n 20 "$cache/debootstrap.log" >&2; exit 1; }
  # Names that other images of PyTorch have.
  ln -s python3 "$root/usr/bin/python"
  printf '#!/bin/sh\nexec python3 -m torch.distributed.run "$@"\n' >"$root/usr/local/bin/torchrun"
  chmod 755 "$root/usr/local/bin/torchrun"
  # Debian's PyTorch has no libuv. What is said by USE_LIBUV is not passed on by the rendezvous of torchrun, nor to the store of
  # its own that it shares with the training.
  distributed=$root/usr/lib/python3/dist-packages/torch/distributed
  sed -i 's/multi_tenant=True/multi_tenant=True, use_libuv=False/' \
    "$distributed"/elastic/rendezvous/{c10d_rendezvous_backend,dynamic_rendezvous,static_tcp_rendezvous}.py
  sed -i 's/is_master=False,/is_master=False, use_libuv=use_libuv,/' "$distributed/rendezvous.py"
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
  ./oci.sh "$root" docker.io/local/torch:1 "$cache/torch.tar" \
    '{"Env":["PATH=/usr/local/bin:/usr/bin:/bin","USE_LIBUV=0","TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1","PYTHONUNBUFFERED=1"]}'
fi
ready
