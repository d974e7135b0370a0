#!/bin/sh
# Builds the checks of sandbox/flake.nix in Nix's sandbox and shows what they leave.
#
#   nix/tests/sandbox.sh [BENCH GUEST TEST]
#
# BENCH is the harness, GUEST an image with WireGuard's tools (the folder of a guest.json), TEST the program of
# harness/tests/nix_run_test.rs; without them all three are built. Needs root, which starts unprivileged builders.
# KEEP=DIR keeps Nix's store and the results there; MESHBENCH_CACHE is where guests are looked for and left.
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

if [ $# = 3 ]; then
    bench=$1 guest=$2 test=$3
else
    cd "$repository"
    cargo build --quiet
    bench=${CARGO_TARGET_DIR:-target}/debug/bench
    test=$(cargo test --quiet --package harness --test nix_run_test --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*nix_run_test-[^"]*\)".*/\1/p')
    export MESHBENCH_CACHE="${MESHBENCH_CACHE:-$work/cache}"
    # A command on a cluster makes the image, unless it is there.
    "$bench" shell wireguard -- alice true
    guest=$(dirname "$(ls -t "$MESHBENCH_CACHE"/image-*/wireguard.erofs | head -n 1)")
fi
bench=$(realpath "$bench") guest=$(realpath "$guest") test=$(realpath "$test")

# The flake in a repository of its own: it is part of a larger tree, which Nix 2.8 takes from git only.
rm -rf "$work/flake"
mkdir "$work/flake"
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
sandbox-paths = /bin=/usr/bin /lib=/usr/lib $(for path in /lib64 /usr /etc/alternatives; do [ -e "$path" ] && printf '%s ' "$path"; done)/meshbench/bench=$bench /meshbench/guest=$guest /meshbench/test=$test
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
place() { nix eval --raw --store "$work/store" --no-write-lock-file "$flake#checks.$system.$1.outPath" 2>/dev/null; }
echo "run-test: $(grep 'connected after' "$work/store$(place run-test)/log.txt")"
output=$(place wireguard-lan)
echo "output of wireguard-lan: $output"
cd "$work/store$output"
find . -type f -printf '%P %s bytes\n' | sort
cat logs/sandbox.txt table.txt
[ "$(cat exit-code)" = 0 ]
[ -s results/run.json ] && [ -s results/results.csv ] && [ -s results/junit.xml ]
