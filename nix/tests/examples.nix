# What the README shows, evaluated.
{ pkgs, meshbench }:
let
  inherit (meshbench) lib;
  keys = { pkgs, ... }: { environment.systemPackages = [ pkgs.wireguard-tools ]; };
  nodes = lib.fromNodes {
    inherit pkgs;
    name = "mine";
    nodes = { alice = keys; bob = keys; };
    units = [ "wg-quick-wg0.service" ];
    interface = "wg0";
    kernelModules = [ "wireguard" ];
  };
  clan = lib.fromClan {
    inherit pkgs;
    instance = "vpn";
    machines = { alice = "laptop"; bob = "desktop"; };
    units = [ "wireguard-vpn.service" ];
    clan = {
      nixosModules = { clan-machine-laptop = keys; clan-machine-desktop = keys; };
      clanInternals.exports = {
        "wireguard:vpn:peer:laptop".peer.hosts = [{ plain = "fd00::1"; }];
        "wireguard:vpn:peer:desktop".peer.hosts = [{ plain = "fd00::2"; }];
      };
    };
  };
in
{
  from-nodes = nodes.mkCheck { scenario = "lan"; };
  from-nodes-guest = nodes.guest;
  from-clan = clan.mkCheck { scenario = "home-dsl"; };
  own-module = lib.mkCheck {
    inherit pkgs;
    module = "mine";
    folder = ../../modules/_template;
    scenario = "lan";
  };
  run-test = lib.runTest {
    inherit pkgs;
    name = "two-routers";
    nodes.wireguard = keys;
    test = "/bin/true";
  };
  overlay = (meshbench.overlays.default pkgs pkgs).meshbench;
  guest = lib.mkGuest {
    inherit pkgs;
    name = "with-every-vpn";
    modules = builtins.attrValues meshbench.nixosModules;
  };
}
