# Many checks at once: an attribute set of modules, each of scenarios.
{ lib, found, mkCheck }:
{ modules ? builtins.attrNames found.vpns
, scenarios ? builtins.attrNames found.scenarios
, # Numbers that are to be compared come from machines that run guests with KVM.
  features ? [ "benchmark" "kvm" ]
, blocks ? 7
, quick ? false
, # A VPN that fails is a result.
  strict ? false
, # Folders of modules that are not ours, by name.
  folders ? { }
, ...
}@arguments:
let
  names = lib.unique (modules ++ builtins.attrNames folders);
  common = builtins.removeAttrs arguments [ "modules" "scenarios" "folders" ];
  one = module: scenario: mkCheck (common // {
    inherit module scenario features blocks quick strict;
    folder = folders.${module} or null;
  });
in
lib.genAttrs names (module: lib.genAttrs scenarios (one module))
