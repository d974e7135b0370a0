# A nixpkgs older than the flake's, made to fit as far as it goes: options that it lacks are declared without effect,
# and packages that it lacks, or that take other arguments there (Rust's, miniupnpd), are only names. What is left is
# checked by the real NixOS.
nixpkgs:
let
  inherit (nixpkgs) lib;
  isOld = lib.versionOlder lib.trivial.release "25.11";
  lines = file: builtins.filter (line: builtins.isString line && line != "" && !lib.hasPrefix "#" line)
    (builtins.split "\n" (builtins.readFile file));
  evaluate = modules: import (nixpkgs.outPath + "/nixos/lib/eval-config.nix") {
    system = "x86_64-linux";
    inherit modules;
  };
  # What lies below an option is its value.
  isKnown = set: path:
    set._type or "" == "option" || path == [ ]
    || (set ? ${lib.head path} && isKnown set.${lib.head path} (lib.tail path));
  inherit (evaluate [ ]) options;
  missing = builtins.filter
    (name: !lib.hasPrefix "meshbench." name && !(isKnown options (lib.splitString "." name)))
    (lines ./stub/options.txt);
  shim = {
    options = builtins.foldl' lib.recursiveUpdate { } (map
      (name: lib.setAttrByPath (lib.splitString "." name) (lib.mkOption { type = lib.types.unspecified; }))
      missing);
  };
  stub = import ./stub;
  fitted = nixpkgs // {
    # Functions that it lacks are the stub's.
    lib = stub.lib // lib // {
      nixosSystem = { modules }: evaluate (modules ++ [ shim ]);
    };
    legacyPackages = lib.mapAttrs
      (system: pkgs: stub.legacyPackages.${system}.names // pkgs // {
        inherit (stub.legacyPackages.${system}) rustPlatform;
        overlays = [
          (_: old: lib.filterAttrs (name: _: !(old ? ${name})) stub.legacyPackages.${system}.names // {
            inherit (stub.legacyPackages.${system}) rustPlatform fetchCrate miniupnpd;
          })
        ];
        formats.toml = stub.legacyPackages.${system}.formats.toml;
      })
      { inherit (nixpkgs.legacyPackages) x86_64-linux aarch64-linux; };
  };
in
{
  nixpkgs = if isOld then fitted else nixpkgs;
  # Options and packages that this nixpkgs does not have.
  missing = lib.optionals isOld (missing ++ builtins.filter
    (name: !(nixpkgs.legacyPackages.x86_64-linux ? ${name}))
    (builtins.attrNames stub.legacyPackages.x86_64-linux.names));
}
