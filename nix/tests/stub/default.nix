# Stands in for nixpkgs where there is none: as many functions as the flake uses, and packages that are only names. What
# is evaluated against it is our own code, and the names it uses of nixpkgs: unknown ones are errors here too.
let
  lib = import ./lib.nix // {
    nixosSystem = import ./nixos.nix;
  };
in
{
  inherit lib;
  outPath = ./.;
  legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ]
    (system: import ./packages.nix { inherit lib system; });
}
