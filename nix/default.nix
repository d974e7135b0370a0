# All outputs of the flake; each comes from a file of its own.
{ self, nixpkgs }:
let
  inherit (nixpkgs) lib;
  root = ../.;
  found = import ./discover.nix { inherit lib root; };
  scope = pkgs: import ./scope.nix { inherit lib nixpkgs pkgs root found; flake = self; };
  scopes = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: scope nixpkgs.legacyPackages.${system});
  perSystem = file: lib.mapAttrs (_: import file) scopes;
  checks = perSystem ./checks.nix;
  functions = import ./lib.nix { inherit lib scope; };
in
{
  packages = perSystem ./packages.nix;
  apps = perSystem ./apps.nix;
  inherit checks;
  # The same for those with Hydra, and the site.
  hydraJobs = import ./hydra.nix { inherit lib checks scopes; };
  devShells = perSystem ./devshell.nix;
  formatter = lib.mapAttrs (_: scope: scope.pkgs.nixpkgs-fmt) scopes;
  # The whole matrix: legacyPackages.<system>.bench.<module>.<scenario>.
  legacyPackages = lib.mapAttrs (_: scope: { bench = scope.mkMatrix { }; }) scopes;

  nixosModules = import ./modules.nix { inherit lib found scopes; };
  overlays.default = final: _: { meshbench = (scope final).bench; };
  lib = functions;
  flakeModules.default = import ./flake-module.nix { inherit (functions) mkChecks; };
  modules.nixosTest.default = import ./nixos-test-module.nix { inherit (functions) mkChecks; };
  templates = import ./templates.nix;
}
