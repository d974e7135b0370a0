#!/bin/sh
# Builds the checks of sandbox/flake.nix in Nix's sandbox and shows what they leave.
#
#   nix/tests/sandbox.sh [BENCH [GUEST]]
#
# BENCH is the harness [cargo's], GUEST an image with WireGuard's tools, a folder with a guest.json [built by BENCH].
# Needs root, which starts unprivileged builders. KEEP=DIR keeps Nix's store and the results there.
set -eu
repository=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "sandbox.sh: only root can start builders under other users" >&2; exit 1; }

if ! command -v nix >/dev/null || ! command -v git >/dev/null; then
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install nix-bin git >/dev/null
fi
getent group nixbld >/dev/null || groupadd --system nixbld
for number in 1 2; do
    getent passwd "nixbld$number" >/dev/null ||
        useradd --system --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin \
            --gid nixbld --groups nixbld "nixbld$number"
done

if [ -n "${KEEP-}" ]; then
    mkdir -p "$KEEP"
    work=$(cd "$KEEP" && pwd)
else
    work=$(mktemp -d)
    # What is in a store is read-only.
    trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
fi

bench=${1-}
if [ -z "$bench" ]; then
    cargo build --quiet --manifest-path "$repository/Cargo.toml"
    bench=${CARGO_TARGET_DIR:-$repository/target}/debug/bench
fi
guest=${2-}
if [ -z "$guest" ]; then
    # A cluster of one command makes the image; --cache of its own is where it then is.
    "$bench" shell wireguard --root "$repository" --cache "$work/cache" -- alice true
    guest=$(dirname "$(ls -t "$work"/cache/image-*/wireguard.erofs | head -n 1)")
fi

# The flake in a repository of its own: it is part of a larger tree, which Nix 2.8 takes from git only.
mkdir -p "$work/flake"
for folder in nix modules checks; do
    cp -r "$repository/$folder" "$work/flake/"
done
git -C "$work/flake" init --quiet
git -C "$work/flake" add --all

# One job at a time: two measurements would measure each other.
cat >"$work/nix.conf" <<CONF
experimental-features = nix-command flakes
build-users-group = nixbld
sandbox = true
sandbox-paths = /bin=/usr/bin /lib=/usr/lib $(for path in /lib64 /usr /etc/alternatives; do [ -e "$path" ] && printf '%s ' "$path"; done)/meshbench/bench=$bench /meshbench/guest=$guest
substituters =
max-jobs = 1
CONF
export NIX_CONF_DIR="$work" NIX_USER_CONF_FILES=/dev/null HOME="$work"
system=$(uname -m)-linux
flake="git+file://$work/flake?dir=nix/tests/sandbox"
begin=$(date +%s)
nix flake check --store "$work/store" --no-write-lock-file -L "$flake"
end=$(date +%s)
echo "nix flake check took $((end - begin)) s"

# Already built: only its place is asked for.
output=$(nix build --store "$work/store" --no-write-lock-file --no-link --print-out-paths "$flake#checks.$system.wireguard-lan" 2>/dev/null ||
    nix path-info --store "$work/store" --no-write-lock-file "$flake#checks.$system.wireguard-lan")
echo "output: $output"
cd "$work/store$output"
find . -type f -printf '%P %s bytes\n' | sort
cat logs/sandbox.txt table.txt
[ "$(cat exit-code)" = 0 ]
[ -s results/run.json ] && [ -s results/results.csv ] && [ -s results/junit.xml ]
