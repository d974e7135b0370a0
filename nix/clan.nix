# fromClan: an instance of a Clan inventory as a VPN to measure.
#
#   meshbench.lib.fromClan {
#     inherit pkgs;
#     clan = self;                                        # the flake that `clanLib.clan` made
#     instance = "vpn";                                   # inventory.instances.vpn
#     machines = { alice = "laptop"; bob = "desktop"; };  # who stands where in the scenarios
#     units = [ "wireguard-vpn.service" ];
#   }
#
# What maps onto what:
#
#   inventory.machines.<m>          a node, by `machines`; its configuration is nixosModules.clan-machine-<m>
#   inventory.instances.<i>.roles   already in these configurations; `hub` is the machine of the elevated role
#   exports … peer.hosts            the addresses of the overlay, as other services of the clan see them
#   clan.core.vars                  as generated; secrets must be deployed as files of the store, as in Clan's own tests
#
# Exports are marked experimental by Clan: `hosts` says how an address is got from one; `address` replaces all of it.
{ lib, fromNodes }:
{ clan
, instance
, machines
, units
  # The value of one entry of peer.hosts: plain, or the public value of a generator.
, hosts ? entry:
    if entry ? plain then entry.plain
    else
      lib.removeSuffix "\n" (builtins.readFile
        (clan + "/vars/per-machine/${entry.var.machine}/${entry.var.generator}/${entry.var.file}/value"))
, # Exports of this instance by machine of the clan.
  exports ? clan.clanInternals.exports or { }
, address ? machine:
    let
      own = lib.filterAttrs
        (scope: _: lib.hasInfix ":${instance}:" scope && lib.hasSuffix ":${machines.${machine}}" scope)
        exports;
      found = lib.concatMap (export: export.peer.hosts or [ ]) (builtins.attrValues own);
    in
    if found == [ ]
    then throw "fromClan: instance ${instance} exports no host of ${machines.${machine}}; give `address` or `interface`"
    else map hosts found
, interface ? null
, ...
}@arguments:
fromNodes (
  builtins.removeAttrs arguments [ "clan" "instance" "machines" "hosts" "exports" "address" "interface" ]
  // {
    name = arguments.name or instance;
    nodes = lib.mapAttrs (_: machine: clan.nixosModules."clan-machine-${machine}") machines;
    inherit units;
  }
    // (if interface != null then { inherit interface; } else { inherit address; })
)
