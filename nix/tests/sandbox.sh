#!/bin/sh
# Builds the checks of sandbox/flake.nix in Nix's sandbox and shows what they leave.
#
# Needs root, which starts unprivileged builders. Guests are those of the harness's cache, made if they are not there.
# KEEP=DIR keeps Nix's store and the results there.
set -eu
cd "$(dirname "$0")/../.."
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
    work=$(realpath "$KEEP")
else
    work=$(mktemp -d)
    # What is in a store is read-only.
    trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT PIPE TERM
fi

# Programs that cargo has built are in its words.
executable() { sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'; }
bench=$(cargo build --quiet --locked --bin bench --message-format=json | executable | tail -n 1)
test=$(cargo test --quiet --locked --package meshbench --test nix_run_test --no-run --message-format=json |
    executable | grep /nix_run_test-)
"$bench" guest internal wireguard >"$work/guests"
guest=$(sed -n 's/^wireguard=//p' "$work/guests")

# The QEMU of virtual time, which the harness brings along when it is first needed.
pinned() { ls -d "$(dirname "$guest")"/qemu-*/root 2>/dev/null | head -n 1; }
[ -n "$(pinned)" ] || "$bench" internal --clock virtual --quick --scenario lan --workload ping --out "$work/warm" >/dev/null
libraries=/meshbench/qemu-root/usr/lib/x86_64-linux-gnu
cat >"$work/qemu" <<PROGRAM
#!/bin/sh
exec $libraries/ld-linux-x86-64.so.2 --library-path $libraries /meshbench/qemu-root/usr/bin/qemu-system-x86_64 \\
    -L /meshbench/qemu-root/usr/share/qemu -L /meshbench/qemu-root/usr/share/seabios "\$@"
PROGRAM
chmod +x "$work/qemu"

# Programs new enough to make a file system of an archive, from the archive of the guests.
tools=$work/tools
mirror=$(cat "$(ls -t "$(dirname "$guest")"/base-*/mirror | head -n 1)")
[ -d "$tools" ] || mmdebstrap --quiet --variant=essential --aptopt='APT::Install-Recommends "false"' \
    --include=busybox-static,cpio,e2fsprogs,erofs-utils,iproute2,jq,kmod,mount,nix-bin,xz-utils,zstd trixie "$tools" \
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main"

# The flake in a repository of its own: it is part of a larger tree, which Nix 2.8 takes from git only.
rm -rf "$work/flake"
mkdir "$work/flake"
cp -r nix modules checks "$work/flake/"
sed -n 's/.*"name": "linux-image-\(.*\)".*/\1/p' "$guest/guest.json" | tr -d '\n' >"$work/flake/nix/tests/sandbox/release"
git -C "$work/flake" init --quiet
git -C "$work/flake" add --all

# One job at a time: two measurements would measure each other.
present() { for path; do [ -e "$path" ] && printf '%s ' "$path"; done; }
cat >"$work/nix.conf" <<CONF
experimental-features = nix-command flakes
build-users-group = nixbld
sandbox = true
sandbox-paths = /bin=/usr/bin /lib=/usr/lib $(present /lib64 /usr /etc/alternatives) /meshbench/bench=$bench /meshbench/test=$test /meshbench/tools=$tools /meshbench/qemu=$work/qemu /meshbench/qemu-root=$(pinned) $(sed 's,^,/meshbench/,' "$work/guests" | tr '\n' ' ')
substituters =
max-jobs = 1
CONF
export NIX_CONF_DIR="$work" NIX_USER_CONF_FILES=/dev/null HOME="$work"
system=$(uname -m)-linux
flake="git+file://$work/flake?dir=nix/tests/sandbox"
begin=$(date +%s)
nix flake check --store "$work/store" --no-write-lock-file -L "$flake"
echo "nix flake check took $(($(date +%s) - begin)) s"

begin=$(date +%s)
nix build --store "$work/store" --no-write-lock-file --no-link -L --rebuild "$flake#checks.$system.wireguard-virtual"
echo "virtual time: built a second time, byte for byte the same, after $(($(date +%s) - begin)) s"

# Already built: only its place is asked for.
output() {
    path=$(nix eval --raw --store "$work/store" --no-write-lock-file "$flake#checks.$system.$1.outPath" 2>/dev/null)
    echo "$work/store$path"
}
expect() {
    file=$1
    shift
    grep "$@" "$file" || { echo "sandbox.sh: no '$*' in $file" >&2; exit 1; }
}

echo "run-test: $(expect "$(output run-test)/log.txt" 'connected after')"

echo "image-boots: $(expect "$(output image-boots)/log.txt" 'booted from')"

naked=$(output naked-lan)
echo "naked-lan, which must be found out:"
expect "$naked/contract.txt" '✗ is encrypted'
expect "$naked/contract.txt" '✗ keeps strangers out'
expect "$naked/exit-code" -qx 100

kept=$(output wireguard-lan)
echo "wireguard-lan, in $kept:"
(cd "$kept" && find . -type f -printf '%P %s bytes\n' | sort)
cat "$kept/logs/sandbox.txt" "$kept/contract.txt" "$kept/table.txt"
expect "$kept/exit-code" -qx 0
for promise in 'comes up' 'works both ways' 'is encrypted' 'stays inside' 'keeps strangers out'; do
    expect "$kept/contract.txt" -q "✓ $promise"
done
for file in results/run.json results/results.csv results/samples.csv results/junit.xml contract/junit.xml; do
    [ -s "$kept/$file" ] || { echo "sandbox.sh: $file is missing" >&2; exit 1; }
done
