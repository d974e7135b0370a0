# What ./boot.sh boots: guests of our modules, members as people write them, and a clan, of real NixOS modules with
# Debian's programs.
{ nixpkgs
, archive
, words
, # A Debian guest image of the harness: kernel, modules and agent.
  guest
, release
, # Programs that the harness has compiled: name -> folder with bin/, as JSON.
  compiled ? "{}"
, # As ./clan.nix: clan-core and its inputs, or nothing.
  core ? null
, inputs ? null
}:
let
  folder = path: /. + path;
  agent = import ./debian-packages/agent.nix { inherit pkgs guest; };
  programs = builtins.mapAttrs (_: builtins.storePath) (builtins.fromJSON compiled) // { meshbench-agent = agent; };
  shim = import ./debian-packages {
    nixpkgs = folder nixpkgs;
    words = folder words;
    inherit archive guest release;
    compiled = programs;
  };
  inherit (shim) lib;
  pkgs = shim.legacyPackages.x86_64-linux;
  meshbench = import ../default.nix { self = { outPath = ../..; }; nixpkgs = shim; };

  # Drawn for this test.
  keys = machine: derivation {
    name = "keys-of-${machine}";
    inherit (pkgs) system;
    builder = "${pkgs.bash}/bin/bash";
    PATH = lib.makeBinPath [ pkgs.coreutils pkgs.wireguard-tools ];
    args = [
      "-euc"
      ''
        mkdir $out
        wg genkey >$out/private
        wg pubkey <$out/private | tr -d '\n' >$out/public
        exit 0
      ''
    ];
  };
  public = machine: builtins.readFile "${keys machine}/public";

  # Much of what a machine at home has, and none of which may be in the way.
  hardware = { pkgs, ... }: {
    boot.loader.grub = { enable = true; device = "/dev/sda"; };
    fileSystems."/" = { device = "/dev/disk/by-label/nixos"; fsType = "ext4"; };
    swapDevices = [{ device = "/dev/disk/by-label/swap"; }];
    networking = {
      useDHCP = true;
      interfaces.eth0.ipv4.addresses = [{ address = "192.168.77.7"; prefixLength = 24; }];
      firewall = { enable = true; allowPing = true; allowedUDPPorts = [ 51820 ]; allowedTCPPorts = [ 655 ]; };
    };
    services.openssh.enable = true;
    users.users.me = { isNormalUser = true; };
  };
  numbers = { alice = "1"; bob = "2"; };
  other = { alice = "bob"; bob = "alice"; };
  each = f: lib.genAttrs [ "alice" "bob" ] (machine: { imports = [ hardware (f machine) ]; });

  members = {
    quick = {
      units = [ "wg-quick-wg0.service" ];
      interface = "wg0";
      nodes = each (machine: {
        networking.wg-quick.interfaces.wg0 = {
          address = [ "10.99.0.${numbers.${machine}}/24" ];
          listenPort = 51820;
          privateKeyFile = "${keys machine}/private";
          peers = [{
            publicKey = public other.${machine};
            allowedIPs = [ "10.99.0.${numbers.${other.${machine}}}/32" ];
            endpoint = "${other.${machine}}:51820";
          }];
        };
      });
    };
    scripted = {
      units = machine: [
        "wireguard-wg0.service"
        "wireguard-wg0-peer-${escaped (public other.${machine})}.service"
      ];
      address = machine: [ "10.99.0.${numbers.${machine}}" ];
      nodes = each (machine: {
        networking.wireguard.interfaces.wg0 = {
          ips = [ "10.99.0.${numbers.${machine}}/24" ];
          listenPort = 51820;
          privateKeyFile = "${keys machine}/private";
          peers = [{
            publicKey = public other.${machine};
            allowedIPs = [ "10.99.0.${numbers.${other.${machine}}}/32" ];
            endpoint = "${other.${machine}}:51820";
          }];
        };
      });
    };
    # Its activation fails, and that is to be said.
    broken = members.quick // {
      nodes = lib.mapAttrs
        (_: node: { imports = [ node ]; system.activationScripts.broken = "echo 'the disk is on fire' >&2; false"; })
        members.quick.nodes;
    };
  };
  escaped = lib.replaceStrings [ "/" "+" "=" ] [ "-" "\\x2b" "\\x3d" ];
  fromNodes = name: arguments: meshbench.lib.fromNodes ({ inherit pkgs name; } // arguments);

  clan = import ./clan.nix {
    inherit core inputs nixpkgs words archive guest release;
    vars = toString ./stub;
    compiled = programs;
  };
in
{
  inherit (shim) debian;
  guests = lib.genAttrs
    ([ "internal" "wireguard" "tinc" "nebula" "openvpn" "yggdrasil" ]
      ++ builtins.attrNames (removeAttrs programs [ "meshbench-agent" ]))
    (name: meshbench.lib.mkGuest { inherit pkgs name; modules = [ (../../modules + "/${name}/nixos.nix") ]; });
  members = lib.mapAttrs (name: arguments: { inherit (fromNodes name arguments) guest folder; }) members;
  clan =
    let made = clan.from (clan.clanOf clan.wireguard).self { vars = null; name = "clan"; }; in
    { inherit (made) guest folder; };
}
