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
    in
    self;
  given = import ./old.nix (outputs (/. + nixpkgs) { });
  stub = import ./stub;
  real = if nixpkgs == null then stub else given.nixpkgs;
  flake = outputs ../.. { nixpkgs = real; };
  systems = [ "x86_64-linux" "aarch64-linux" ];

  # The functions of `lib`, as another flake would call them.
  examples = builtins.listToAttrs (map
    (name: {
      inherit name;
      value = import ./examples.nix { pkgs = real.legacyPackages.${name}; meshbench = flake; };
    })
    systems);

  # What `nix flake init` copies.
  files = template: builtins.filter (name: !(builtins.pathExists (template.path + "/${name}")))
    (if template.path == ../../nix/template then [ "flake.nix" ] else [ "module.toml" "lifecycle" "nixos.nix" ]);
  templates = builtins.mapAttrs
    (name: template:
      if files template == [ ] then template.path else throw "templates.${name} lacks ${toString (files template)}")
    flake.templates;

  namesOf = set: builtins.attrNames set;
  perSystem = system:
    builtins.concatMap
      (output: map (name: [ output system name ]) (namesOf flake.${output}.${system}))
      [ "packages" "checks" "devShells" ]
    ++ [ [ "formatter" system ] ]
    ++ map (name: [ "examples" system name ]) (namesOf examples.${system})
    ++ map (name: [ "apps" system name "program" ]) (namesOf flake.apps.${system})
    ++ builtins.concatMap
      (module: map (scenario: [ "legacyPackages" system "bench" module scenario ])
        (namesOf flake.legacyPackages.${system}.bench.${module}))
      (namesOf flake.legacyPackages.${system}.bench);

  # The store path of the derivation at an attribute path, or the program of an app.
  one = path:
    let value = builtins.foldl' (set: name: set.${name}) (flake // { inherit examples; }) path;
    in value.drvPath or value;
  lines = file: builtins.filter (line: builtins.isString line && line != "")
    (builtins.split "\n" (builtins.readFile (/. + file)));
in
{
  inherit flake one templates;
  # What a nixpkgs that is too old lacks, and what the stubs only name.
  missing = builtins.concatStringsSep " " given.missing;
  named = builtins.concatStringsSep " " (builtins.filter
    (name: stub.legacyPackages.x86_64-linux.${name} == stub.legacyPackages.x86_64-linux.names.${name})
    (namesOf stub.legacyPackages.x86_64-linux.names));
  # Attribute paths of all that can be built, one a line.
  names = builtins.concatStringsSep "\n" (map (builtins.concatStringsSep " ") (builtins.concatMap perSystem systems));
  # For each attribute path in a file with such lines.
  all = file: builtins.concatStringsSep "\n" (map
    (line:
      let path = builtins.filter builtins.isString (builtins.split " " line);
      in "${builtins.concatStringsSep "." path} ${one path}")
    (lines file));
}
