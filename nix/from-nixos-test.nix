# fromNixosTest: machines of a NixOS test as members, by where they stand; the rest is fromNodes'. What a test says of
# its virtual machines means nothing here.
#
#   meshbench.lib.fromNixosTest {
#     inherit pkgs;
#     test = ./test.nix;
#     machines = { alice = "client1"; bob = "client2"; hub = "server"; };
#     units = [ "tinc.mesh.service" ];
#     interface = "tinc.mesh";
#   }
{ lib, fromNodes }:
{ pkgs
, # A test as for `runTest`: a file, a function or a set.
  test
, machines
, ...
}@arguments:
let
  loaded = if builtins.isPath test then import test else test;
  module = if builtins.isFunction loaded then loaded { inherit pkgs lib; config = { }; } else loaded;
  name = arguments.name or module.name or "test";
  fail = text: throw "fromNixosTest ${name}: ${text}";

  # Whatever a test says of them.
  ignored = lib.mkOption {
    type = lib.types.submodule { config._module.freeformType = lib.types.attrsOf lib.types.anything; };
    default = { };
  };
  node = _: machine: {
    imports = [
      (module.nodes.${machine}
        or (fail "there is no node ${machine}; it has ${toString (builtins.attrNames module.nodes)}"))
      (module.defaults or { })
    ];
    options.virtualisation = ignored;
  };
in
if !(module ? nodes) then fail "it has no `nodes`; a clan's test is for modules.nixosTest.default"
else fromNodes (removeAttrs arguments [ "test" "machines" ] // { inherit name; nodes = lib.mapAttrs node machines; })
