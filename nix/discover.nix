# The VPNs in modules/ and the scenarios in checks/: adding a folder or a file is all it takes.
{ lib, root }:
let
  isModule = dir: name: kind:
    kind == "directory"
    && builtins.substring 0 1 name != "_"
    && builtins.pathExists (dir + "/${name}/module.toml");
  toml = file: builtins.fromTOML (builtins.readFile file);
  modulesIn = dir: lib.mapAttrs (name: _: dir + "/${name}")
    (lib.filterAttrs (isModule dir) (builtins.readDir dir));
  scenariosIn = dir: lib.mapAttrs'
    (name: _: lib.nameValuePair (lib.removeSuffix ".toml" name) (dir + "/${name}"))
    (lib.filterAttrs (name: _: lib.hasSuffix ".toml" name) (builtins.readDir dir));
in
rec {
  # Folders by name; `internal`, the wire, is one of them.
  modules = modulesIn (root + "/modules");
  # Files by name.
  scenarios = scenariosIn (root + "/checks");

  vpns = builtins.removeAttrs modules [ "internal" ];
  specs = lib.mapAttrs (_: dir: toml (dir + "/module.toml")) modules;
  topologies = lib.mapAttrs (_: toml) scenarios;
}
