# The files of a NixOS guest: an initrd with the agent as init, and one erofs file system with the root's skeleton and
# the closure of the system.
{ lib, pkgs, agent, toplevel, init, bootModules, extraPaths, modulesTree, release }:
let
  closure = pkgs.closureInfo { rootPaths = [ toplevel init ] ++ extraPaths; };
in
{
  inherit closure;

  initrd = pkgs.runCommand "meshbench-initrd"
    { nativeBuildInputs = [ pkgs.cpio pkgs.kmod pkgs.xz pkgs.zstd ]; } ''
    set -o pipefail
    mkdir -p root/dev root/proc root/sys root/modules
    install -m 0755 ${agent}/bin/meshbench-agent root/init
    for module in ${toString bootModules}; do
      modprobe --config /var/empty --dirname ${modulesTree} --set-version ${release} --show-depends $module
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >paths
    while read -r path; do
      name=$(basename "$path")
      name=''${name%%.ko*}.ko
      case $path in
        *.xz) xz -dc "$path" ;;
        *.zst) zstd -dc "$path" ;;
        *) cat "$path" ;;
      esac >root/modules/$name
      echo "/modules/$name" >>root/modules/order
    done <paths
    find root -exec touch --no-dereference --date=@1 {} +
    cd root
    find . -mindepth 1 -printf '%P\0' | sort -z | cpio --create --null --format=newc --reproducible --owner=0:0 >$out
  '';

  layer = pkgs.runCommand "meshbench-layer.erofs" { nativeBuildInputs = [ pkgs.erofs-utils ]; } ''
    set -o pipefail
    cd "$(mktemp -d)"
    # It becomes the guest's root.
    chmod 0755 .
    mkdir -p dev proc sys run tmp root home bin sbin etc var/lib var/log nix/store usr/bin usr/sbin usr/lib/meshbench
    # What needs no running system: the agent formats the machine's disk with these before any init runs.
    ln -s ${toplevel}/sw/bin/* usr/bin/
    ln -s ../usr/bin/sh bin/sh
    ln -s ${init} sbin/init
    ln -s ${agent}/bin/meshbench-agent usr/lib/meshbench/agent
    # No host name, no machine id: each machine gets its own.
    : >etc/machine-id
    : >etc/resolv.conf
    sed 's,^/,,' ${closure}/store-paths >"$TMPDIR/paths"
    # Hard links of an optimised store would be another layer for the same content.
    tar --create --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner --hard-dereference \
      --directory="$PWD" . --directory=/ --verbatim-files-from --files-from="$TMPDIR/paths" |
      mkfs.erofs --quiet -T1 -U00000000-0000-0000-0000-000000000000 --tar=f $out
    # A sealed machine has it as memory.
    truncate --size=%2M $out
  '';
}
