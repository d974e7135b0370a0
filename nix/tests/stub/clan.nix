# Stands in for what `clan-core.lib.clan` gives, as far as fromClan looks at it. ../clan.nix checks that clan-core has
# each of these names.
{ lib }:
let
  clan-core = {
    outPath = ./.;
    clanLib = {
      getPublicValue = { machine ? null, generator, file, flake }: "fd00::${machine}";
      test.ageModule = { };
    };
  };
  nixos = modules: lib.nixosSystem {
    modules = modules ++ [{ nixpkgs.hostPlatform = "x86_64-linux"; }];
    specialArgs = { inherit clan-core; };
  };
  host = plain: { networking = null; peer.hosts = [{ inherit plain; }]; };
in
{ machines, instances, exports }:
let
  evaluated = lib.mapAttrs (_: module: nixos [ module ]) machines;
in
{
  config = {
    directory = ./.;
    exports = lib.mapAttrs (_: host) exports;
    inventory = {
      inherit instances;
      machines = lib.mapAttrs (_: _: { machineClass = "nixos"; }) machines;
    };
    clanInternals.machines = { x86_64-linux = evaluated; aarch64-linux = evaluated; };
  };
}
