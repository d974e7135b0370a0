# A test program as a derivation; like mkCheck.nix, nothing of nixpkgs.
{ system
, shell
, path
, guests
, name
, test
, arguments ? [ ]
, features ? [ "nixos-test" ]
, environment ? { }
}:
derivation (environment // {
  name = "meshbench-test-${name}";
  inherit system;
  builder = shell;
  args = [ ./run-test.sh "${test}" ] ++ arguments;
  PATH = path;
  MESHBENCH_GUESTS = builtins.toJSON (builtins.mapAttrs (_: guest: "${guest}") guests);
  requiredSystemFeatures = features;
})
