# What the README shows, evaluated.
{ pkgs, meshbench }:
let
  inherit (meshbench) lib;
  stub = (import ./stub).lib;
  keys = { pkgs, ... }: { environment.systemPackages = [ pkgs.wireguard-tools ]; };
  vpn = { systemd.services = { mine = daemon; "wg-quick-wg0" = daemon; }; };
  daemon.serviceConfig.ExecStart = "/bin/true";
  # What a package brings, as NixOS has tailscaled; and a Nix that cleans up by itself, as people have it.
  brought = {
    systemd.services.tailscaled.serviceConfig.Environment = [ "PORT=41641" ];
    nix.gc.automatic = true;
  };
  given = {
    name = "mine";
    nodes = { alice = { imports = [ keys vpn brought ]; }; bob = { imports = [ keys vpn brought ]; }; };
    units = [ "wg-quick-wg0.service" "tailscaled.service" ];
    interface = "wg0";
    kernelModules = [ "wireguard" ];
  };
  nodes = lib.fromNodes ({ inherit pkgs; } // given);
  # A service that is not one of Clan's own.
  clan = (import ./stub/clan.nix { lib = stub; } {
    machines = { laptop = vpn; desktop = vpn; server = vpn; };
    instances.mine = { module.name = "@me/mine"; roles.peer = { }; };
    exports = {
      "mine:mine:peer:laptop" = "fd00::1\n";
      "mine:mine:peer:desktop" = "desktop.mine";
      "mine:mine:peer:server" = "fd00::3";
      "clan-core/internet:internet:default:server" = "vpn.example.org";
    };
  }).config;
  instance = {
    machines = { alice = "laptop"; bob = "desktop"; hub = "server"; };
    units = [ "mine.service" ];
    vars = ./stub;
  };
  test = {
    test = { lib, ... }: { name = "mine"; nodes = { one = vpn; two = vpn; }; defaults = keys; testScript = ""; };
    machines = { alice = "one"; bob = "two"; };
    units = [ "mine.service" ];
    interface = "mine0";
  };
  # What flake-parts and runTest evaluate of our modules, without either.
  parts = meshbench.flakeModules.default {
    lib = stub;
    flake-parts-lib.mkPerSystemOption = module: module;
    self = { inherit clan; };
  };
  perSystem = parts.options.perSystem { inherit pkgs; config.meshbench.checks.mine = instance; };
  beside = meshbench.modules.nixosTest.default {
    lib = stub;
    hostPkgs = pkgs;
    config = {
      clan = clan // { varsDirectory = ./stub; };
      meshbench.checks.mine = removeAttrs instance [ "vars" ];
    };
  };
  several = lib.mkChecks {
    inherit pkgs clan;
    checks = {
      ours = { folder = ../../modules/_template; scenarios = [ "lte-roaming" ]; quick = false; };
      nodes = { inherit (given) nodes units interface; scenarios = [ "lan" ]; };
      test = test // { scenarios = [ "lan" ]; };
      clan = instance // { instance = "mine"; scenarios = [ "lan" ]; };
    };
  };
in
{
  from-nodes = nodes.mkCheck { scenario = "lan"; };
  from-nodes-guest = nodes.guest;
  from-clan = (lib.fromClan (instance // { inherit pkgs; clan = { inherit clan; }; instance = "mine"; })).mkCheck
    { scenario = "home-dsl"; };
  from-nixos-test = (lib.fromNixosTest (test // { inherit pkgs; })).guest;
  own-module = lib.mkCheck {
    inherit pkgs;
    module = "mine";
    folder = ../../modules/_template;
    scenario = "lan";
  };
  inherit (several) ours-lte-roaming nodes-lan test-lan clan-lan;
  flake-module = perSystem.config.checks.mine-lan;
  nixos-test-module = beside.config.passthru.meshbench.mine-home-dsl;
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
