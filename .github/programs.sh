#!/bin/bash
# On a hosted runner of GitHub: the programs that guests are made with, and `bench`, on the PATH of the steps that follow.
set -euo pipefail
cd "$(dirname "$0")/.."
# What measures inside machines of virtual time is another program by each compiler: with the runner's own, which moves on,
# what is half done could not go on, and what is published would not repeat.
rust=1.95.0
sudo apt-get update -q
sudo apt-get install -q -y --no-install-recommends \
    qemu-system-x86 mmdebstrap erofs-utils debian-archive-keyring xz-utils uidmap gcc libc6-dev jq
# Ubuntu lets only programs that it knows make user namespaces; where it does not restrict them there is nothing to say.
sudo sysctl -q -w kernel.apparmor_restrict_unprivileged_userns=0 || true
rustup toolchain install "$rust" --profile minimal --no-self-update
RUSTUP_TOOLCHAIN=$rust cargo build --release --locked --package meshbench-cli
echo "RUSTUP_TOOLCHAIN=$rust" >>"$GITHUB_ENV"
echo "$PWD/target/release" >>"$GITHUB_PATH"
