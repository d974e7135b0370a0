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
      # Who is there, of a module whose members are systems of their own.
    , places ? null
    , ...
    }@arguments:
    let
      files = found.scenarios // scenarios;
      file = files.${scenario} or (throw
        "mkCheck ${module}: there is no scenario ${scenario}; there are ${toString (builtins.attrNames files)}");
      topology = builtins.fromTOML (builtins.readFile file);
      # Whoever is no peer is there if the module has a part for it.
      isOptional = name: builtins.elem name [ "hub" "mallory" ]
        || lib.any (machine: machine.name == name && machine.role or "peer" != "peer") (topology.machine or [ ]);
      there = lib.concatMap (site: site.machines or [ site.name ]) topology.site;
      without = builtins.filter (name: !(isOptional name) && !(builtins.elem name places)) there;
      lost = builtins.filter (name: !(builtins.elem name there)) places;
      fail = text: throw "mkCheck ${module}: ${scenario} ${text}";
      checked = result:
        if places == null then result
        else if lost != [ ] then fail "has no place ${toString lost}; it has ${toString there}"
        else if without != [ ] then fail "needs somebody at ${toString without}, too"
        else result;
      own = lib.optionalAttrs (folder != null) { ${module} = folder; };
      image = if guest != null then guest else guestOf module folder;
    in
    checked (check
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
      ({ inherit (topology) workloads; }
        // builtins.removeAttrs arguments [ "folder" "guest" "scenarios" "features" "places" ]));
in
{
  inherit lib pkgs root found flake rust agent bench site guests mkGuest mkRoot mkCheck;
  mkMatrix = import ./matrix.nix { inherit lib found mkCheck; };
  fromNodes = import ./from-nodes.nix { inherit lib pkgs mkGuest mkCheck; };
  runTest = import ./run-test.nix { inherit lib pkgs mkGuest guests; };
}
