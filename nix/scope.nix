# What the outputs of one package set are made with.
{ lib, nixpkgs, pkgs, root, found, flake }:
let
  rust = import ./rust.nix { inherit lib pkgs root flake; };
  inherit (rust) agent bench;

  site = import ./site.nix { inherit pkgs root bench; };

  mkGuest = import ./guest.nix { inherit lib nixpkgs pkgs agent; };

  # `bench` takes modules and scenarios from one folder; other flakes add theirs. Each as text, which brings it into the
  # store: older releases link a path to where it lies, which no sandbox has.
  mkRoot = { modules ? { }, scenarios ? { } }:
    pkgs.linkFarm "meshbench-root" (
      lib.mapAttrsToList (name: path: { name = "modules/${name}"; path = "${path}"; }) (found.modules // modules)
      ++ lib.mapAttrsToList (name: path: { name = "checks/${name}.toml"; path = "${path}"; })
        (found.scenarios // scenarios)
    );

  guestOf = name: folder: mkGuest { inherit name; modules = [ (folder + "/nixos.nix") ]; };
  guests = lib.mapAttrs guestOf found.modules;

  check = import ./mkCheck.nix;
  mkCheck =
    { module
    , scenario
      # A module's folder, if it is not one of ours.
    , folder ? null
      # Its image, if it is not made from the folder's nixos.nix.
    , guest ? null
      # Files of scenarios that are not ours, by name.
    , scenarios ? { }
    , features ? [ "benchmark" ]
    , ...
    }@arguments:
    let
      files = found.scenarios // scenarios;
      file = files.${scenario} or (throw
        "mkCheck ${module}: there is no scenario ${scenario}; there are ${toString (builtins.attrNames files)}");
      topology = builtins.fromTOML (builtins.readFile file);
      own = lib.optionalAttrs (folder != null) { ${module} = folder; };
      image = if guest != null then guest else guestOf module folder;
    in
    check
      {
        system = pkgs.stdenv.hostPlatform.system;
        shell = pkgs.runtimeShell;
        path = lib.makeBinPath [ pkgs.coreutils pkgs.gnused pkgs.qemu_test ];
        bench = "${bench}/bin/bench";
        root = mkRoot { modules = own; inherit scenarios; };
        qemu = "${pkgs.qemu_test}/bin/qemu-system-x86_64";
        guests = guests // lib.optionalAttrs (folder != null || guest != null) { ${module} = image; };
        inherit features;
      }
      ({ inherit (topology) workloads; } // builtins.removeAttrs arguments [ "folder" "guest" "scenarios" "features" ]);
in
{
  inherit lib pkgs root found flake rust agent bench site guests mkGuest mkRoot mkCheck;
  mkMatrix = import ./matrix.nix { inherit lib found mkCheck; };
  fromNodes = import ./from-nodes.nix { inherit lib pkgs mkGuest mkCheck; };
  runTest = import ./run-test.nix { inherit lib pkgs mkGuest guests; };
}
