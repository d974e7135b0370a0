#!/bin/sh
# NixOS guests booted and measured: real NixOS modules, with Debian's programs (debian-packages/), where no binary cache is.
#
#   NIXPKGS=DIR nix/tests/boot.sh            as root; DIR has lib, nixos/modules and pkgs/build-support
#   … CLAN_CORE=DIR CLAN_INPUTS=DIR …        a clan's machines, too; see clan.sh
#   … CLOCKS=virtual MODULES=wireguard SCENARIOS=lan MEMBERS=quick CHECKS= …   some of it; SCENARIOS= is members only
#
# KEEP=DIR keeps Nix's store, results and logs there.
set -eu
cd "$(dirname "$0")/../.."
clocks=${CLOCKS-virtual real}
scenarios=${SCENARIOS-lan home-dsl}
modules=${MODULES-wireguard tinc nebula openvpn yggdrasil tailscale}
members=${MEMBERS-quick scripted networkd tinc nebula broken}
checks=${CHECKS-wireguard quick run-test}
if [ -z "${NIXPKGS-}" ]; then
    echo "skipped: nix/tests/boot.sh: NIXPKGS is not given, no NixOS guest is booted"
    exit 0
fi
[ -z "${CLAN_CORE-}" ] || [ -n "${CLAN_INPUTS-}" ] || { echo "boot.sh: CLAN_CORE needs CLAN_INPUTS" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "boot.sh: only root can give Nix a /nix of its own" >&2; exit 1; }
for program in nix-build mmdebstrap jq; do
    command -v $program >/dev/null || { echo "boot.sh: no $program (Debian: nix-bin, mmdebstrap, jq)" >&2; exit 1; }
done
begin=$(date +%s)
if [ -n "${KEEP-}" ]; then
    mkdir -p "$KEEP"
    work=$(realpath "$KEEP")
else
    work=$(mktemp -d)
    # What is in a store is read-only.
    trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT PIPE TERM
fi
# What is kept of an earlier time would be taken for results of this one.
rm -rf "$work/out"
mkdir -p "$work/nix" "$work/conf" "$work/out" /nix
cat >"$work/conf/nix.conf" <<CONF
build-users-group =
sandbox = false
substituters =
max-jobs = $(nproc)
CONF
passed=0 failed=0 skipped=0
# step NAME COMMAND…: runs it, and counts.
step() {
    name=$1 since=$(date +%s)
    shift
    if "$@" >"$work/out/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "✓ $name, $(($(date +%s) - since)) s"
    else
        failed=$((failed + 1))
        echo "✗ $name, $(($(date +%s) - since)) s; the end of $work/out/$name.log:"
        tail -n 15 "$work/out/$name.log" | sed 's/^/    /'
    fi
}

# cells WORKLOAD DIR: what was measured is ok, and WORKLOAD was. What is unsupported or skipped is no failure of `bench`,
# and shows nothing; only of `direct` that is right, for VPNs that do not tell their path.
cells() {
    jq --slurp --raw-output --exit-status --arg workload "$1" '
        map(select(.outcome.status != "ok" and .key.workload != "direct")) as $others
        | ($others[] | "not ok: \(.key.scenario), \(.key.module), \(.key.workload): \(.outcome)"),
          ($others == [] and any(.key.workload == $workload))' "$2"/cells/*.json
}
# measured WORKLOAD COMMAND… DIR: a `bench run` whose results go to DIR, and are ok.
measured() {
    workload=$1
    shift
    "$@" || return
    for results; do :; done
    cells "$workload" "$results"
}

# Programs that cargo has built are in its words.
bench=${BENCH-$(cargo build --quiet --locked --bin bench --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)}
test=${TEST-$(cargo test --quiet --locked --package meshbench --test nix_run_test --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | grep /nix_run_test-)}
"$bench" guest internal $modules >"$work/guests"
debian=$(sed -n 's/^internal=//p' "$work/guests")
release=$(jq -r '.packages[].name | select(startswith("linux-image-")) | ltrimstr("linux-image-")' "$debian/guest.json" |
    sort | tail -n 1)

# The QEMU of virtual time, which the harness brings along when it is first needed.
pinned() { ls -d "$(dirname "$debian")"/qemu-*/root 2>/dev/null | head -n 1; }

# A Debian, which is half of the time: kept beside the harness' own.
packages=$(grep -v '^#' nix/tests/debian-packages/programs.txt | paste -sd ,)
archive=$(dirname "$debian")/nixos-$(echo "$packages" | cksum | cut -d ' ' -f 1).tar
mirror=$(head -n 1 "$(dirname "$debian")"/base-*/mirror | grep -v '^==' | grep . | head -n 1)
[ -e "$archive" ] || {
    mmdebstrap --quiet --variant=essential --aptopt='APT::Install-Recommends "false"' --include="$packages" trixie \
        "$archive.new.tar" "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main"
    mv "$archive.new.tar" "$archive"
}

# Every word after "pkgs." is a package, if only by name.
grep -rhoE '\bpkgs\.[a-zA-Z0-9_-]+' --include='*.nix' "$NIXPKGS/nixos/modules" nix modules \
    ${CLAN_CORE:+"$CLAN_CORE/clanServices" "$CLAN_CORE/nixosModules" "$CLAN_CORE/lib"} |
    sed 's/^pkgs\.//' | sort -u >"$work/words"

# with_store COMMAND…: with a store that is /nix for it only.
with_store() {
    NIX_REMOTE='' NIX_CONF_DIR="$work/conf" unshare --mount sh -c 'mount --bind "$0" /nix && exec "$@"' "$work/nix" "$@"
}

# build ATTRIBUTE [OPTION…]: its path on this machine.
build() {
    attribute=$1
    shift
    set -- nix-build nix/tests/boot.nix --no-out-link "$@" -A "$attribute" --argstr nixpkgs "$(realpath "$NIXPKGS")" \
        --argstr archive "$archive" --argstr words "$work/words" --argstr guest "$debian" --argstr release "$release" \
        --argstr compiled "$compiled" $tools \
        ${CLAN_CORE:+--argstr core "$(realpath "$CLAN_CORE")" --argstr inputs "$(realpath "$CLAN_INPUTS")"}
    path=$(with_store "$@" 2>"$work/out/build-$attribute.log") ||
        { echo "boot.sh: $attribute was not built; $work/out/build-$attribute.log ends with" >&2
          tail -n 15 "$work/out/build-$attribute.log" >&2; return 1; }
    echo "$work$path"
}

# Programs that were compiled for Debian's guests are NixOS's, too.
compiled={} tools=
case " $modules " in
*" tailscale "*)
    layer=$(ls "$(sed -n 's/^tailscale=//p' "$work/guests")"/module-tailscale*.erofs)
    rm -rf "$work/tailscale"
    fsck.erofs --extract="$work/tailscale" "$layer" >/dev/null
    mkdir -p "$work/tailscale-bin/bin"
    find "$work/tailscale" -name "*scale*" -type f -path "*/bin/*" -exec cp -t "$work/tailscale-bin/bin/" {} +
    path=$(with_store nix-store --add "$work/tailscale-bin")
    compiled=$(jq -n --arg path "$path" '{tailscale: $path, headscale: $path}')
    ;;
esac

guests="--guest internal=$(build guests.internal)"
for module in $modules; do
    guests="$guests --guest $module=$(build "guests.$module")"
done
echo "built: $(echo $guests | tr ' ' '\n' | grep -c =) guests, $(($(date +%s) - begin)) s"

# A second time, and the same byte for byte.
step rebuild build guests.internal --check

for clock in $clocks; do
    [ -n "$scenarios" ] || break
    # What a guest's kernel, its programs and its idle services make a difference to. Idle minutes are waited for in
    # real time.
    compared=connect,ping,mtu,tcp
    [ "$clock" = real ] || compared=$compared,idle
    for scenario in $scenarios; do
        step "run-$clock-$scenario" measured ping "$bench" run $modules --scenario "$scenario" --quick --strict \
            --workload "$compared" --clock "$clock" --seed 1 $guests --out "$work/out/nixos-$clock-$scenario"
        # The same of Debian's packages and with the same seed, beside it: only the guest differs, which `compare` minds.
        step "debian-$clock-$scenario" measured ping "$bench" run $modules --scenario "$scenario" --quick --strict \
            --workload "$compared" --clock "$clock" --seed 1 --out "$work/out/debian-$clock-$scenario"
        "$bench" compare --force "$work/out/debian-$clock-$scenario" "$work/out/nixos-$clock-$scenario" || true
    done
    step "contract-$clock" "$bench" contract $modules --clock "$clock" $guests --out "$work/out/contract-$clock"
    # In virtual time nothing has a power to lose, and machines reboot.
    case $clock in real) dark=power-loss ;; *) dark=reboot ;; esac
    step "$dark-$clock" measured recover "$bench" run wireguard --scenario "$dark" --quick --clock "$clock" $guests \
        --out "$work/out/$dark-$clock"
done

# Members that are whole systems; what the harness takes as a module is made with them.
for member in $members ${CLAN_CORE:+clan}; do
    # A module that a nixpkgs of years ago lacks.
    if [ "$member" = nebula ] && ! [ -e "$NIXPKGS/nixos/modules/services/networking/nebula.nix" ]; then
        skipped=$((skipped + 1))
        echo "- member-nebula is skipped: this nixpkgs has no services.nebula"
        continue
    fi
    case $member in clan) attribute=clan ;; *) attribute=members.$member ;; esac
    guest=$(build "$attribute.guest") && folder=$(build "$attribute.folder") || { failed=$((failed + 1)); continue; }
    root=$work/root-$member
    mkdir -p "$root/modules/$member"
    cp -r checks "$root/"
    cp -r modules/internal "$root/modules/"
    install -m 0644 "$folder/module.toml" "$folder/nixos.nix" "$root/modules/$member/"
    install -m 0755 "$folder/lifecycle" "$root/modules/$member/"
    own="--guest internal=$(build guests.internal) --guest $member=$guest"
    # The first of them: a member needs no second clock.
    clock=${clocks%% *}
    if [ "$member" = broken ]; then
        MESHBENCH_ROOT=$root "$bench" run broken --scenario lan --quick --workload connect --clock "$clock" $own \
            --out "$work/out/broken" >"$work/out/broken.log" 2>&1 || true
        step broken-says-why grep -r 'the disk is on fire' "$work/out/broken.log" "$work/out/broken"
        continue
    fi
    step "member-$member" measured ping env MESHBENCH_ROOT="$root" "$bench" run "$member" --scenario lan --quick --strict \
        --workload connect,ping --clock "$clock" $own --out "$work/out/member-$member"
    step "contract-$member" env MESHBENCH_ROOT="$root" "$bench" contract "$member" --clock "$clock" $own \
        --out "$work/out/contract-$member"
    # In real time, if there is any: only there does it lose what it had not written.
    case " $clocks " in *" real "*) dark=power-loss clock=real ;; *) dark=reboot ;; esac
    step "$dark-$member" measured recover env MESHBENCH_ROOT="$root" "$bench" run "$member" --scenario "$dark" --quick \
        --clock "$clock" $own --out "$work/out/$dark-$member"
done

# Checks of a flake, in Nix's sandbox.
if [ -n "${checks% }" ]; then
    [ -n "$(pinned)" ] || "$bench" internal --clock virtual --quick --scenario lan --workload ping --out "$work/out/warm"
    # add NAME PROGRAM: a folder of the store that has the program as bin/NAME.
    add() {
        mkdir -p "$work/tools/$1/bin"
        cp "$2" "$work/tools/$1/bin/$1"
        with_store nix-store --add "$work/tools/$1"
    }
    tools="--argstr bench $(add bench "$bench") --argstr test $(add run-test "$test")"
    tools="$tools --argstr qemu $(with_store nix-store --add "$(pinned)")"
fi
for check in $checks; do
    step "check-$check" build "checks.$check" --option sandbox true
    case $check in
    run-test) built=$(build "checks.$check") && cat "$built/log.txt" || true ;;
    # In virtual time: a second time, and the same byte for byte.
    *)
        step "cells-$check" cells ping "$(build "checks.$check")/results"
        step "rebuild-$check" build "checks.$check" --option sandbox true --check
        ;;
    esac
done
echo "boot.sh: $passed passed, $failed failed, $skipped skipped, $(($(date +%s) - begin)) s"
[ "$failed" = 0 ]
