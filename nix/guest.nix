# mkGuest: a NixOS configuration as a guest image, a folder with guest.json, kernel, initrd and one root layer.
{ lib, nixpkgs, pkgs, agent }:
{
  # The VPN, or what else it is for.
  name
  # NixOS modules.
, modules ? [ ]
  # An evaluated NixOS configuration that is extended by them, in the place of a new one: it keeps its own packages and
  # special arguments.
, configuration ? null
  # Store paths that come along.
, extraPaths ? [ ]
  # Kernel arguments besides ours.
, kernelParams ? [ ]
}:
let
  platform = pkgs.stdenv.hostPlatform;
  profile = [ ./profile.nix { meshbench.agent = lib.mkOptionDefault agent; } ] ++ modules;
  evaluated =
    if configuration != null then configuration.extendModules { modules = profile; }
    else
      nixpkgs.lib.nixosSystem {
        # Not `nixpkgs.pkgs`: with it, no module could allow an unfree VPN.
        modules = profile ++ [{
          nixpkgs.hostPlatform = lib.mkDefault platform.system;
          nixpkgs.overlays = pkgs.overlays;
        }];
      };
  inherit (evaluated) config;
  inherit (config.system.build) toplevel kernel;

  # The agent has mounted /dev, /proc and /sys; NixOS's own stage 1 would also have made /run, without which
  # systemd covers the links that stage 2 leaves there, and /dev/fd, by which stage 2 writes its log. A machine
  # that became another system (from-nodes.nix) is that one again after a loss of power.
  init = pkgs.writeScript "meshbench-init" ''
    #!${pkgs.runtimeShell}
    PATH=${lib.makeBinPath [ pkgs.coreutils pkgs.util-linux ]}
    mkdir -p /run
    # A container of a sealed machine has one, with the agent's socket.
    mountpoint -q /run || mount -t tmpfs -o mode=0755,nodev,nosuid tmpfs /run
    [ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
    system=${toplevel}
    if [ -s /var/lib/meshbench/system ]; then
      read -r system </var/lib/meshbench/system
    fi
    exec "$system/init"
  '';

  # As in the Debian provider (harness/meshbench/src/guest/debian/mod.rs), where the reasons are.
  cmdline = lib.concatStringsSep " " ([
    "panic=1"
    "loglevel=4"
    "net.ifnames=0"
    "audit=0"
    "lsm="
    "nokaslr"
    "nowatchdog"
    "systemd.show_status=false"
  ] ++ lib.optionals platform.isx86_64 [
    "edd=off"
    "no_timer_check"
    "tsc=reliable"
  ] ++ kernelParams ++ [
    "init=${init}"
    "console=${if platform.isAarch64 then "ttyAMA0" else "ttyS0"}"
  ]);

  # What reaches disks, card and agent, stacks the root, and what nothing in the guest loads on demand.
  bootModules = [
    "virtio_pci"
    "virtio_blk"
    "virtio_net"
    "virtio_rng"
    "virtio_console"
    "erofs"
    "overlay"
    "ext4"
    "tun"
  ] ++ lib.optionals platform.isx86_64 [
    "vmgenid"
    # Layers in memory, which sealed machines have instead of disks.
    "libnvdimm"
    "nd_btt"
    "nd_pmem"
    "nfit"
  ];

  parts = import ./image.nix {
    inherit lib pkgs agent toplevel init bootModules extraPaths;
    modulesTree = config.system.modulesTree;
    release = config.boot.kernelPackages.kernel.modDirVersion;
  };

  manifest = {
    format = 1;
    provider = "nixos";
    inherit (platform) system;
    kernel = "kernel";
    initrd = "initrd";
    inherit cmdline;
    layers = [ "0.erofs" ];
  };
in
pkgs.runCommand "meshbench-guest-${name}"
{
  nativeBuildInputs = [ pkgs.jq pkgs.nix ];
  manifest = builtins.toJSON manifest;
  passAsFile = [ "manifest" ];
  # The layer's content is in the image; the references in its text are not needed beside it.
  passthru = { inherit config toplevel; };
} ''
  mkdir $out
  # An archive knows whether a file is executable; a guest's files are not.
  install -m 0444 ${kernel}/${config.system.boot.loader.kernelFile} $out/kernel
  install -m 0444 ${parts.initrd} $out/initrd
  install -m 0444 ${parts.layer} $out/0.erofs
  hash=$(nix-hash --type sha256 --base64 $out)
  # A store path names its package: hash, name, and version from the first dash before a digit.
  jq --null-input --rawfile paths ${parts.closure}/store-paths \
    --slurpfile manifest $manifestPath --arg hash "sha256-$hash" '
    def package:
      (capture("^/nix/store/[a-z0-9]{32}-(?<name>.+?)-(?<version>[0-9].*)$")
        // capture("^/nix/store/[a-z0-9]{32}-(?<name>.+)$")) as $parts
      | { name: $parts.name, version: "\($parts.version // "unversioned") (\(.))" };
    $manifest[0] + {
      nar_hash: $hash,
      packages: ($paths | split("\n") | map(select(. != "") | package) | sort_by(.name, .version))
    }' >guest.json
  mv guest.json $out/
''
