# What the README shows, evaluated.
{ pkgs, meshbench }:
let
  inherit (meshbench) lib;
  stub = (import ./stub).lib;
  keys = { pkgs, ... }: { environment.systemPackages = [ pkgs.wireguard-tools ]; };
  vpn = { systemd.services = { mine = daemon; "wg-quick-wg0" = daemon; }; };
  daemon.serviceConfig.ExecStart = "/bin/true";
  nodes = lib.fromNodes {
    inherit pkgs;
    name = "mine";
    nodes = { alice = { imports = [ keys vpn ]; }; bob = { imports = [ keys vpn ]; }; };
    units = [ "wg-quick-wg0.service" ];
    interface = "wg0";
    kernelModules = [ "wireguard" ];
  };
  # A service that is not one of Clan's own.
  clan = lib.fromClan {
    inherit pkgs;
    clan.clan = (import ./stub/clan.nix { lib = stub; } {
      machines = { laptop = vpn; desktop = vpn; server = vpn; };
      instances.mine = { module.name = "@me/mine"; roles.peer = { }; };
      exports = {
        "mine:mine:peer:laptop" = "fd00::1\n";
        "mine:mine:peer:desktop" = "desktop.mine";
        "mine:mine:peer:server" = "fd00::3";
        "clan-core/internet:internet:default:server" = "vpn.example.org";
      };
    }).config;
    instance = "mine";
    machines = { alice = "laptop"; bob = "desktop"; hub = "server"; };
    units = [ "mine.service" ];
    vars = ./stub;
  };
in
{
  from-nodes = nodes.mkCheck { scenario = "lan"; };
  from-nodes-guest = nodes.guest;
  from-clan = clan.mkCheck { scenario = "home-dsl"; };
  from-nixos-test = (lib.fromNixosTest {
    inherit pkgs;
    test = { lib, ... }: { name = "mine"; nodes = { one = vpn; two = vpn; }; defaults = keys; testScript = ""; };
    machines = { alice = "one"; bob = "two"; };
    units = [ "mine.service" ];
    interface = "mine0";
  }).guest;
  own-module = lib.mkCheck {
    inherit pkgs;
    module = "mine";
    folder = ../../modules/_template;
    scenario = "lan";
  };
  inherit (lib.mkChecks {
    inherit pkgs;
    checks.mine = { folder = ../../modules/_template; scenarios = [ "lte-roaming" ]; quick = false; };
  }) mine-lte-roaming;
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
