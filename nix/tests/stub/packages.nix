{ lib, system }:
let
  package = name: attributes: derivation
    {
      inherit name system;
      builder = "/bin/sh";
      # So that what goes into a package is evaluated.
      inputs = builtins.toJSON attributes;
    } // { inherit name; };
  built = { pname ? arguments.name, nativeBuildInputs ? [ ], passthru ? { }, ... }@arguments:
    let own = package pname (builtins.removeAttrs arguments [ "passthru" "meta" "cargoLock" ]);
    in own // passthru // {
      inherit nativeBuildInputs;
      overrideAttrs = f: built (arguments // f (arguments // { inherit nativeBuildInputs; }));
      override = changed: built (arguments // changed);
    };
  # Every word after "pkgs." in our own code; whether nixpkgs has such a package is not known here.
  root = ../../..;
  nixFiles = dir: map (name: dir + "/${name}")
    (builtins.filter (lib.hasSuffix ".nix") (builtins.attrNames (builtins.readDir dir)));
  moduleFiles = builtins.filter builtins.pathExists (map (name: root + "/modules/${name}/nixos.nix")
    (builtins.attrNames (builtins.readDir (root + "/modules"))));
  words = file: lib.concatMap (part: if builtins.isList part then [ (builtins.elemAt part 1) ] else [ ])
    (builtins.split "(^|[^a-zA-Z])pkgs\\.([a-zA-Z0-9_-]+)" (builtins.readFile file));
  names = lib.genAttrs (lib.concatMap words (nixFiles (root + "/nix") ++ moduleFiles)) (name: built { inherit name; })
    // { linux = package "linux" { }; };
in
names // rec {
  inherit names;
  inherit lib;
  overlays = [ ];
  stdenv.hostPlatform = {
    isLinux = true;
    inherit system;
    isx86_64 = system == "x86_64-linux";
    isAarch64 = system == "aarch64-linux";
  };
  runtimeShell = "${package "bash" { }}/bin/bash";
  glibc = package "glibc" { } // { static = package "glibc-static" { }; };
  rustPlatform.buildRustPackage = built;
  fetchCrate = { pname, ... }@arguments: package pname arguments;
  fetchFromGitHub = { repo, ... }@arguments: package repo arguments;
  buildGoModule = built;
  mkShell = arguments: package "shell" arguments;
  runCommand = name: arguments: script: built ({ inherit name script; } // arguments);
  writeScript = name: text: package name { inherit text; };
  writeShellScript = writeScript;
  linkFarm = name: entries: package name (map (entry: { inherit (entry) name; path = "${entry.path}"; }) entries);
  closureInfo = { rootPaths }: package "closure-info" rootPaths;
  formats.toml = _: { generate = name: value: package name value; };
}
