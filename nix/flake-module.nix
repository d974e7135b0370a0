# flakeModules.default, for flake-parts: what stands in `perSystem.meshbench.checks` becomes checks of the flake, as
# ./mkChecks.nix names them. An instance is of the flake's own clan.
{ mkChecks }:
{ lib, flake-parts-lib, self, ... }: {
  options.perSystem = flake-parts-lib.mkPerSystemOption ({ config, pkgs, ... }: {
    options.meshbench.checks = lib.mkOption {
      type = lib.types.lazyAttrsOf lib.types.raw;
      default = { };
      description = "VPNs to measure, by name; see meshbench's nix/mkChecks.nix.";
    };
    # Clan's templates name Darwin, too, where no machine of ours runs.
    config.checks = lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux
      (mkChecks { inherit pkgs; inherit (config.meshbench) checks; clan = self; });
  });
}
