# The flake's outputs without Nix's flake machinery: nothing is fetched, locked or copied.
{ nixpkgs ? null }:
let
  outputs = path: inputs:
    let
      result = (import (path + "/flake.nix")).outputs ({ self = self; } // inputs);
      self = result // {
        outPath = path;
        lastModified = 0;
        lastModifiedDate = "19700101000000";
        shortRev = "eval";
      };
      lines = file: builtins.filter (line: builtins.isString line && line != "")
        (builtins.split "\n" (builtins.readFile (/. + file)));
      # The functions of `lib`, as another flake would call them.
      examples = builtins.mapAttrs (_: pkgs: import ./examples.nix { inherit pkgs; meshbench = flake; })
        { inherit (real.legacyPackages) x86_64-linux aarch64-linux; };

      # The store path of the derivation at an attribute path, or the program of an app.
      one = path:
        let value = builtins.foldl' (set: name: set.${name}) (flake // { inherit examples; }) path;
        in value.drvPath or value;
    in
    self;
  given = import ./old.nix (outputs (/. + nixpkgs) { });
  real = if nixpkgs == null then import ./stub else given.nixpkgs;
  flake = outputs ../.. { nixpkgs = real; };
  systems = [ "x86_64-linux" "aarch64-linux" ];
  systemOutputs = [ "packages" "checks" "devShells" ];

  perSystem = system: builtins.concatMap
    (output: map (name: [ output system name ]) (builtins.attrNames flake.${output}.${system}))
    systemOutputs
  ++ [ [ "formatter" system ] ]
  ++ map (name: [ "examples" system name ]) (builtins.attrNames examples.${system})
  ++ map (name: [ "apps" system name "program" ]) (builtins.attrNames flake.apps.${system})
  ++ builtins.concatMap
    (module: map (scenario: [ "legacyPackages" system "bench" module scenario ])
      (builtins.attrNames flake.legacyPackages.${system}.bench.${module}))
    (builtins.attrNames flake.legacyPackages.${system}.bench);
  lines = file: builtins.filter (line: builtins.isString line && line != "")
    (builtins.split "\n" (builtins.readFile (/. + file)));
  # The functions of `lib`, as another flake would call them.
  examples = builtins.mapAttrs (_: pkgs: import ./examples.nix { inherit pkgs; meshbench = flake; })
    { inherit (real.legacyPackages) x86_64-linux aarch64-linux; };

  # The store path of the derivation at an attribute path, or the program of an app.
  one = path:
    let value = builtins.foldl' (set: name: set.${name}) (flake // { inherit examples; }) path;
    in value.drvPath or value;
in
{
  inherit flake one;
  missing = builtins.concatStringsSep " " given.missing;
  # Attribute paths of all that can be built, one a line.
  names = builtins.concatStringsSep "\n"
    (map (builtins.concatStringsSep " ") (builtins.concatMap perSystem systems));
  # For each attribute path in a file with such lines.
  all = file: builtins.concatStringsSep "\n" (map
    (line:
      let path = builtins.filter builtins.isString (builtins.split " " line);
      in "${builtins.concatStringsSep "." path} ${one path}")
    (lines file));
}
