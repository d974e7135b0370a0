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

  # Those of NixOS's qemu-vm.nix, which mean nothing here; others of `virtualisation` are the machine's own.
  ignored = lib.genAttrs
    [
      "additionalPaths"
      "bios"
      "bootDevice"
      "bootLoaderDevice"
      "bootPartition"
      "cores"
      "credentials"
      "directBoot"
      "diskImage"
      "diskSize"
      "efi"
      "emptyDiskImages"
      "fileSystems"
      "forwardPorts"
      "graphics"
      "host"
      "interfaces"
      "memorySize"
      "mountHostNixStore"
      "msize"
      "qemu"
      "resolution"
      "restrictNetwork"
      "rootDevice"
      "sharedDirectories"
      "tpm"
      "useBootLoader"
      "useDefaultFilesystems"
      "useEFIBoot"
      "useHostCerts"
      "useNixStoreImage"
      "useSecureBoot"
      "vlans"
      "writableStore"
      "writableStoreUseTmpfs"
    ]
    (_: lib.mkOption { type = lib.types.raw or lib.types.unspecified; default = null; });
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
