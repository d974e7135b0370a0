#!/bin/sh
# fromClan on clan-core as it is, evaluated: nothing is built.
#
#   CLAN_CORE=DIR CLAN_INPUTS=DIR NIXPKGS=DIR nix/tests/clan.sh
#
# CLAN_INPUTS has clan-core's flake-parts, sops-nix and disko, and nixpkgs.lib where NIXPKGS is older than 25.11.
set -eu
cd "$(dirname "$0")/../.."
for name in CLAN_CORE CLAN_INPUTS NIXPKGS; do
    eval "value=\${$name-}"
    [ -n "$value" ] || { echo "skipped: nix/tests/clan.sh: $name is not given"; exit 0; }
done
command -v nix-instantiate >/dev/null || { echo "clan.sh: no nix-instantiate (Debian: nix-bin)" >&2; exit 1; }
work=$(mktemp -d)
# What is in a store is read-only.
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
trap 'exit 1' HUP INT PIPE TERM
echo "build-users-group =" >"$work/nix.conf"
export HOME="$work" NIX_STATE_DIR="$work/state" NIX_LOG_DIR="$work/log" NIX_CONF_DIR="$work" NIX_STORE_DIR="$work/store"
unset NIX_REMOTE

# Vars as `clan vars generate` leaves them.
vars=$work/clan/vars
value() {
    mkdir -p "$vars/$1"
    printf '%s' "$2" >"$vars/$1/value"
}
number=0
for machine in laptop desktop server; do
    number=$((number + 1))
    own=per-machine/$machine
    value "$own/wireguard-keys-vpn/publickey" "$(head -c 32 /dev/zero | tr '\0' "$number" | base64)"
    mkdir -p "$vars/$own/wireguard-network-vpn/prefix" "$vars/$own/wireguard-network-vpn/suffix"
    printf fd00:1:1:100 >"$vars/$own/wireguard-network-vpn/prefix/value"
    printf '0:0:0:%s' "$number" >"$vars/$own/wireguard-network-vpn/suffix/value"
    value "$own/yggdrasil/publicKey" "0$number"
    value "$own/yggdrasil/address" "200::$number"
    value "$own/mycelium/ip" "400::$number"
    value "$own/mycelium/pubkey" "0$number"
    value "$own/state-version/version" 26.05
    value "shared/zerotier-ip-$machine-vpn/ip" "fd5d:bbe3:cbc5:fe6b:f699::$number"
done
value shared/zerotier-network-vpn/network-id 5dbbe3cbc5fe6bf6

# Every word after "pkgs." is a package, if only by name.
grep -rhoE '\bpkgs\.[a-zA-Z0-9_-]+' --include='*.nix' "$NIXPKGS/nixos/modules" nix modules "$CLAN_CORE/clanServices" \
    "$CLAN_CORE/nixosModules" "$CLAN_CORE/lib" | sed 's/^pkgs\.//' | sort -u >"$work/words"

evaluate() {
    nix-instantiate --eval --strict --json --read-write-mode nix/tests/clan.nix \
        --argstr core "$(realpath "$CLAN_CORE")" --argstr inputs "$(realpath "$CLAN_INPUTS")" \
        --argstr nixpkgs "$(realpath "$NIXPKGS")" --argstr vars "$work/clan" --argstr words "$work/words" -A "$@"
}
complain() { sed '/^trace:/d; /^$/d' "$work/error" | head -n "$1"; }

missing=$(evaluate missing 2>"$work/error") || { complain 20; exit 1; }
[ "$missing" = '[]' ] || { echo "stub/clan.nix has what clan-core lacks: $missing"; exit 1; }
echo "stub/clan.nix: clan-core has each of its names"

# names ATTRIBUTE: what is below it, one a line.
names() {
    nix-instantiate --eval --strict --json -E "builtins.attrNames (import ./nix/tests/clan.nix {
        core = \"/\"; inputs = \"/\"; nixpkgs = \"/\"; vars = \"/\"; words = \"/\";
    }).$1" | jq --exit-status -r '.[]'
}
failed=0 passed=0
# fault TEXT: counts it and says why.
fault() {
    failed=$((failed + 1))
    echo "$1"
    complain 12 | sed 's/^/  /'
}

evaluated=$(names evaluated)
for name in $evaluated; do
    if told=$(evaluate "evaluated.$name" 2>"$work/error"); then
        passed=$((passed + 1))
        echo "$name: $told"
    else
        fault "$name: not evaluated"
    fi
done
compared=$(names compared)
for name in $compared; do
    if ! pair=$(evaluate "compared.$name" 2>"$work/error"); then
        fault "$name: not evaluated"
    elif ! echo "$pair" | jq --exit-status '.[0] == .[1]' >/dev/null; then
        fault "$name: $(echo "$pair" | jq --compact-output '.[0]'), and not $(echo "$pair" | jq --compact-output '.[1]')"
    else
        passed=$((passed + 1))
        echo "$name: $(echo "$pair" | jq --compact-output '.[0]')"
    fi
done

names refused >"$work/messages"
while read -r message; do
    if evaluate "refused.\"$message\".folder.drvPath" >"$work/value" 2>"$work/error"; then
        fault "not refused, of which was to be said: $message"
    elif ! grep -qF "$message" "$work/error"; then
        fault "refused, but not because $message:"
    else
        passed=$((passed + 1))
        echo "refused: $(sed -n 's/^ *error: //p' "$work/error" | head -n 1)"
    fi
done <"$work/messages"
echo "clan.sh: $passed passed, $failed failed"
[ "$failed" = 0 ]
