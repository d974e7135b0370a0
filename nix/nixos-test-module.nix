# modules.nixosTest.default, for `runTest` and Clan's `clanTest`: the machines of a clan's own test on networks with
# NATs and links, beside what the test does.
#
#   imports = [ meshbench.modules.nixosTest.default ];
#   meshbench.checks.wg-test-one = { machines = { alice = "peer1"; bob = "peer2"; hub = "ctrl1"; }; };
#
# gives checks.<system>.<test>.meshbench.<name>-<scenario>. Vars are those that clanTest has generated.
{ mkChecks }:
{ config, lib, hostPkgs, ... }: {
  options.meshbench.checks = lib.mkOption {
    type = lib.types.lazyAttrsOf lib.types.raw;
    default = { };
    description = "VPNs to measure, by name; see meshbench's nix/mkChecks.nix.";
  };
  config.passthru.meshbench = mkChecks {
    pkgs = hostPkgs;
    inherit (config) clan;
    checks = lib.mapAttrs
      (_: check:
        let isClans = !(check ? nodes || check ? test || check ? folder); in
        lib.optionalAttrs isClans { vars = config.clan.varsDirectory; } // check)
      config.meshbench.checks;
  };
}
