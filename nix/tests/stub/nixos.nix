# Stands in for NixOS: modules are merged like plain values, and only options in options.txt may be set. These were
# looked up in nixos-26.05 one by one.
{ modules, specialArgs ? { } }:
let
  given = modules;
  lib = import ./lib.nix;
  lines = file: builtins.filter (line: builtins.isString line && line != "" && !lib.hasPrefix "#" line)
    (builtins.split "\n" (builtins.readFile file));
  known = lib.genAttrs (lines ./options.txt ++ lines ./clan-options.txt) (_: true);

  isOverride = value: builtins.isAttrs value && value._type or "" == "override";
  content = value: if isOverride value then value.content else value;
  rank = value: if isOverride value then value.priority else 100;
  isBranch = value: builtins.isAttrs value && !(value ? _type) && value.type or "" != "derivation";

  # The values of options by their dotted names; what lies below an option is its value.
  flatten = path: set: builtins.foldl' add { } (lib.mapAttrsToList
    (name: value:
      let dotted = lib.concatStringsSep "." (path ++ [ name ]); in
      if known ? ${dotted} then { ${dotted} = value; }
      else if isBranch value then flatten (path ++ [ name ]) value
      else throw "${dotted}: look this option up in nixos-26.05 and add it to nix/tests/stub/options.txt")
    set);

  add = a: b: a // lib.mapAttrs (name: value: if a ? ${name} then merge a.${name} value else value) b;
  merge = a: b:
    if rank a < rank b then a
    else if rank b < rank a then b
    else if builtins.isList (content a) then content a ++ content b
    else if isBranch (content a) && isBranch (content b) then add (content a) (content b)
    else b;
  strip = value:
    let plain = content value;
    in if isBranch plain then lib.mapAttrs (_: strip) plain else plain;

  load = module:
    let
      value = if builtins.isPath module || builtins.isString module then import module else module;
      result =
        if builtins.isFunction value then value { inherit config lib; pkgs = packages; } else value;
    in
    lib.concatMap load (result.imports or [ ])
    ++ [ (flatten [ ] (result.config or (builtins.removeAttrs result [ "imports" "options" ]))) ];
  # The platform is itself an option, needed before the others are read.
  platform = builtins.head (lib.concatMap
    (module: lib.optional (builtins.isAttrs module && module ? nixpkgs) module.nixpkgs.hostPlatform)
    modules);
  packages = import ./packages.nix { inherit lib; system = content platform; };
  values = lib.mapAttrs (_: strip) (builtins.foldl' add { } (lib.concatMap load modules));

  config = {
    meshbench = { agent = values."meshbench.agent"; vpn = values."meshbench.vpn" or [ ]; };
    systemd = {
      network.enable = false;
      services = values."systemd.services";
      units = lib.mapAttrs' (name: lib.nameValuePair "${name}.service") values."systemd.services";
    };
    system = {
      modulesTree = packages.linux;
      boot.loader.kernelFile = "bzImage";
      build = {
        kernel = packages.linux;
        # All values are part of it, so that all are evaluated.
        toplevel = packages.runCommand "nixos-system"
          { values = builtins.toJSON (builtins.removeAttrs values [ "nixpkgs.config" "nixpkgs.overlays" ]); } "";
      };
    };
    boot = {
      kernelModules = values."boot.kernelModules" or [ ];
      kernelPackages.kernel.modDirVersion = "0";
    };
  };
  self = {
    inherit config;
    _module = { inherit specialArgs; };
    # As the real one: with more modules, it is evaluated anew.
    extendModules = { modules }: import ./nixos.nix { modules = given ++ modules; inherit specialArgs; };
  };
in
self
