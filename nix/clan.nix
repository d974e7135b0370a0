# fromClan: an instance of a Clan inventory as a VPN to measure.
#
#   meshbench.lib.fromClan {
#     inherit pkgs;
#     clan = self;                                        # a flake with the output `clan`, or what `clanLib.clan` gives
#     instance = "vpn";                                   # inventory.instances.vpn
#     machines = { alice = "laptop"; bob = "desktop"; hub = "server"; };  # who stands where in the scenarios
#   }
#
# What maps onto what:
#
#   inventory.machines.<m>          a node, by `machines`: the machine's own configuration, extended, so that it keeps
#                                   its packages, its special arguments and all modules
#   inventory.instances.<i>.roles   already in these configurations
#   exports … peer.hosts            the addresses of the overlay, as other services of the clan see them
#   clan.core.vars                  generated anew with Clan's test key, as `clanTest` does (./clan-vars.nix)
#   the VPN's service               units, interface and what a scenario without an Internet needs (./clan-services.nix)
#
# Names of machines, and hosts that the clan's `internet` instances export, lead to where a machine stands; `aliases`
# adds others.
{ lib, fromNodes }:
{ pkgs
, clan
, instance
, machines
  # Where the service is not known here: its units, a list or machine -> [ unit ].
, units ? null
  # The overlay: an interface, or machine -> [ address or name ]. Without either, what the instance exports.
, interface ? null
, address ? null
  # NixOS modules that every machine gets besides its own.
, modules ? [ ]
  # Other names of a machine: { "vpn.example.org" = "hub"; }.
, aliases ? { }
  # A folder with vars/ and secrets/, in the place of generated ones.
, vars ? null
, ...
}@arguments:
let
  inherit (builtins) attrNames elem filter head;
  fail = text: throw "fromClan ${instance}: ${text}";
  list = names: if names == [ ] then "none" else lib.concatStringsSep ", " names;
  system = pkgs.stdenv.hostPlatform.system;

  found =
    if clan ? extendModules then clan.config
    else if clan ? exports && clan ? inventory then clan
    else if clan ? clan.exports then clan.clan
    else fail "`clan` is neither a flake with an output `clan` (`clan = clan.config;` in Clan's templates) nor a clan";
  # What is read at the level of the clan is of the generated vars only if the clan can be evaluated again.
  final =
    if clan ? extendModules then (clan.extendModules { modules = [{ varsDirectory = directory; }]; }).config
    else found;

  # Exports are told by "SERVICE:INSTANCE:ROLE:MACHINE".
  scopes = map
    (key:
      let part = builtins.elemAt (lib.splitString ":" key); in
      { inherit key; service = part 0; instance = part 1; role = part 2; machine = part 3; })
    (attrNames found.exports);
  ofInstance = name: filter (scope: scope.instance == name) scopes;
  # A service's exports need not name a role.
  machinesOf = name: lib.unique (filter (machine: machine != "") (map (scope: scope.machine) (ofInstance name)));

  instances = found.inventory.instances or { };
  # Clan's own services are known by their plain names, which another's (`@me/wireguard`) may share.
  plain = lib.removePrefix "clan-core/";
  serviceOf = name: plain (
    let scope = ofInstance name; in
    if scope != [ ] then (head scope).service
    else if instances.${name}.module.name or null == null then name
    else instances.${name}.module.name
  );
  sameService = filter (name: serviceOf name == instance) (attrNames instances);
  service =
    if instances ? ${instance} then serviceOf instance
    else if sameService != [ ] then fail "this is a service, of the instances ${list sameService}: name one of them"
    else fail "there is no such instance; the inventory has ${list (attrNames instances)}";

  services = import ./clan-services.nix { inherit lib; };
  known =
    if services.refused ? ${service} then fail "${service} ${services.refused.${service}}"
    else services.vpns.${service} or { };

  # Roles are read as modules/clan/distributed-services.nix of clan-core reads them: of the machines that are named, and
  # of those that have a tag of the role.
  roleOf = role: { machines = { }; tags = { }; settings = { }; } // instances.${instance}.roles.${role} or { };
  membersOf = role: lib.unique (clan-core.clanLib.inventory.resolveTags {
    inherit (found.inventory) machines;
    members = lib.mapAttrs (_: attrNames) { inherit (roleOf role) machines tags; };
    roleName = role;
    instanceName = instance;
  }).machines;
  # What the inventory says of a machine in a role, without what the service would say if it said nothing.
  settingsOf = role: machine:
    let
      said = roleOf role;
      tags = filter (tag: elem tag found.inventory.machines.${machine}.tags or [ ]) (attrNames said.tags);
    in
    (lib.evalModules {
      modules = [
        # Clan lets nothing else into settings, and lists of several places add up.
        { config._module.freeformType = lib.types.lazyAttrsOf (pkgs.formats.json { }).type; }
        said.settings
        (said.machines.${machine}.settings or { })
      ]
      ++ map (tag: said.tags.${tag}.settings or { }) tags;
    }).config;

  nixos = filter (name: found.inventory.machines.${name}.machineClass or "nixos" == "nixos")
    (attrNames found.inventory.machines);
  evaluated = machine: found.clanInternals.machines.${system}.${machine};
  clan-core = (evaluated (head nixos))._module.specialArgs.clan-core;

  # Where a machine of the clan stands, or null.
  placeOf = machine: lib.findFirst (place: machines.${place} == machine) null (attrNames machines);
  absent = filter (machine: !(elem machine nixos)) (builtins.attrValues machines);
  # Names of machines are names of places, too.
  astray = filter (machine: machines ? ${machine} && machines.${machine} != machine)
    (lib.unique (machinesOf instance ++ builtins.attrValues machines));
  outside = filter (place: !(elem machines.${place} (machinesOf instance))) (attrNames machines);
  # Who runs another instance by the same daemon.
  single = machine: (known.single or (_: false)) (evaluated machine).config;
  shared = name: filter (machine: elem machine (machinesOf name) && single machine) (builtins.attrValues machines);
  others = filter (name: name != instance && serviceOf name == service && shared name != [ ]) (attrNames instances);
  twice = filter (machine: lib.count (other: other == machine) (builtins.attrValues machines) > 1)
    (lib.unique (builtins.attrValues machines));

  missing = filter (machine: placeOf machine == null) (lib.concatMap membersOf (known.needed or [ ]));
  nobody = filter (role: membersOf role == [ ]) (known.needed or [ ] ++ known.manned or [ ]);

  checked = result:
    if absent != [ ] then fail "there is no machine ${list absent}; the clan has ${list nixos} with NixOS"
    else if twice != [ ] then fail "${list twice} cannot stand at two places"
    else if astray != [ ] then
      fail (lib.concatMapStringsSep "; "
        (name: "${name} is a machine of the clan, but ${machines.${name}} stands at ${name}, where that name would "
          + "lead: let ${name} stand there")
        astray)
    else if machinesOf instance == [ ] && interface == null && address == null && known == { } then
      fail ("${service} exports nothing. It has to export `peer.hosts` of each machine "
        + "(`exports = mkExports { peer.hosts = [ … ]; };` in perInstance); or give `interface` or `address`")
    else if machinesOf instance != [ ] && outside != [ ] then
      fail ("${list (map (place: machines.${place}) outside)} is not in it; "
        + "the machines that are: ${list (machinesOf instance)}")
    else if known ? hub && !(machines ? hub) then
      fail "${service} ${known.hub}, which a machine at hub has to be: name one in `machines`"
    else if nobody != [ ] then
      fail ("${service} needs a ${list nobody}, and no machine has that role; the roles of the instance: "
        + list (attrNames (instances.${instance}.roles or { })))
    else if missing != [ ] then fail "${list missing} has to stand somewhere, too: name it in `machines`"
    else if others != [ ] then
      fail ("${list ([ instance ] ++ others)} are instances of one service, ${service}, "
        + "which one daemon runs on ${list (lib.unique (lib.concatMap shared others))}: all would be measured")
    else result;

  directory =
    if vars != null && !(builtins.pathExists (vars + "/vars")) then
      fail "${toString vars} has no folder vars: `vars` is the folder that has vars/ and secrets/"
    else if vars != null then vars
    else
      import ./clan-vars.nix { inherit lib pkgs clan-core; } {
        name = instance;
        inherit (found) directory;
        nodes = lib.genAttrs nixos (machine: (evaluated machine).config);
      };

  host = text:
    let
      bracketed = builtins.match "\\[([^]]*)].*" text;
      named = builtins.match "([^:/?#]*)(:[0-9]+)?([/?#].*)?" text;
    in
    if bracketed != null then head bracketed
    else if named != null then head named
    else text;
  isAddress = text: builtins.match "[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*" text != null;

  plainHosts = export: map (entry: entry.plain)
    (filter (entry: entry ? plain) (if export.peer or null == null then [ ] else export.peer.hosts));
  internet = lib.concatMap
    (scope: map
      (name: {
        inherit name;
        inherit (scope) machine;
        what = "the host of ${scope.machine} in instances.${scope.instance}";
      })
      (plainHosts found.exports.${scope.key}))
    (filter (scope: plain scope.service == "internet" && scope.machine != "") scopes);
  # Hosts of machines that are addresses, and which an `internet` instance need not have.
  numbered = filter (entry: isAddress entry.name) internet;
  # Where the service expects machines: { name; machine; what; }.
  endpoints = map
    (entry: entry // { name = if entry.name == null then fail "${entry.what} is not set" else host entry.name; })
    (lib.unique ((known.endpoints or (_: [ ])) { inherit instance membersOf settingsOf; }));
  # Names on the underlay, of machines that stand somewhere.
  automatic = lib.listToAttrs (lib.concatMap
    (entry: lib.optional (placeOf entry.machine != null && !isAddress entry.name && entry.name != "")
      (lib.nameValuePair entry.name (placeOf entry.machine)))
    (internet ++ endpoints ++ lib.mapAttrsToList (_: machine: { name = machine; inherit machine; }) machines));
  names = removeAttrs automatic (attrNames machines) // aliases;
  nowhere = entry:
    "${entry.what} is the address ${entry.name}, which no machine of a scenario has: give it a name there";
  unreachable = entry:
    if isAddress entry.name then [ (nowhere entry) ]
    else if names ? ${entry.name} || machines ? ${entry.name} then [ ]
    else [
      ("${entry.what} is ${entry.name}, where nobody stands: "
        + "add its machine to `machines`, or the name to `aliases`")
    ];
  lost = lib.concatMap unreachable endpoints ++ lib.optionals (known.dials or false) (map nowhere numbered);

  # A machine of the clan with the vars of the test, after which units and interfaces may be named.
  based = machine: (evaluated machine).extendModules {
    modules = [
      clan-core.clanLib.test.ageModule
      {
        clan.core.settings.directory = lib.mkOverride 75 directory;
        clan.core.vars.settings.secretStore = lib.mkForce "age";
      }
    ];
  };

  # Units of the clan's other instances that would carry what is measured, or speak to the Internet meanwhile. What
  # systemd itself runs is everybody's.
  aside = machine:
    let
      inherit (based machine) config;
      unitsOf = name:
        let of = services.dialling // lib.mapAttrs (_: vpn: vpn.units) services.vpns; in
        (of.${serviceOf name} or (_: [ ])) { instance = name; inherit config; };
      own =
        if builtins.isFunction units then units (placeOf machine)
        else if units != null then units
        else (known.units or (_: [ ])) { inherit instance config; };
      isAside = unit: !(elem unit own) && !(lib.hasPrefix "systemd-" unit) && lib.hasSuffix ".service" unit;
    in
    filter (unit: isAside unit && config.systemd.services ? ${lib.removeSuffix ".service" unit})
      (lib.concatMap unitsOf (filter (name: name != instance) (attrNames instances)));
  # What systemd-networkd would make of them.
  devicesAside = machine:
    let of = name: (services.vpns.${serviceOf name} or { }).devices or (_: [ ]); in
    lib.concatMap (name: of name { instance = name; inherit (based machine) config; })
      (filter (name: name != instance && elem machine (machinesOf name)) (attrNames instances));
  standStill = machine:
    let none = lib.genAttrs (devicesAside machine) (_: { enable = lib.mkForce false; }); in
    {
      systemd.services = lib.genAttrs (map (lib.removeSuffix ".service") (aside machine))
        (_: { wantedBy = lib.mkForce [ ]; });
    } // lib.optionalAttrs (none != { }) { systemd.network.netdevs = none; };

  member = place: machine: (based machine).extendModules {
    modules = [ (standStill machine) ]
    ++ (known.modules or (_: [ ])) { inherit place instance service machines settingsOf; machine = machine; }
    ++ modules;
  };
  nodes = lib.mapAttrs member machines;

  # What a host of `peer.hosts` is: text, or the public value of a generator.
  value = entry:
    if entry ? plain then entry.plain
    else clan-core.clanLib.getPublicValue (removeAttrs entry.var [ "flake" ] // { flake = directory; });
  exported = place:
    let
      own = filter (scope: scope.machine == machines.${place}) (ofInstance instance);
      hosts = lib.concatMap
        (scope: let export = final.exports.${scope.key}; in
          if export.peer or null == null then [ ] else map value export.peer.hosts)
        own;
    in
    if hosts == [ ] then
      fail "it exports no host of ${machines.${place}} (`peer.hosts`); give `address` or `interface`"
    else map lib.trim hosts;
  overlay =
    if interface != null then { inherit interface; }
    else if address != null then { inherit address; }
    else if known ? interface then { interface = known.interface instance; }
    else { address = exported; };
in
builtins.seq known checked (
  if lost != [ ] then fail (lib.concatStringsSep "; " lost)
  else
    fromNodes (
      (known.hooks or (_: { })) { inherit instance machines nodes; }
      // removeAttrs arguments
        [ "clan" "instance" "machines" "units" "interface" "address" "modules" "aliases" "vars" ]
      // overlay
      // {
        inherit pkgs nodes;
        name = arguments.name or instance;
        aliases = names;
        remarks = map nowhere numbered ++ lib.concatMap
          (machine:
            map (unit: "${unit} of ${machine} is another instance's, and is not started") (aside machine)
            ++ map (device: "${device} of ${machine} is another instance's, and is not made") (devicesAside machine))
          (builtins.attrValues machines);
        units =
          if units != null then units
          else if known ? units then place: known.units { inherit instance; inherit (nodes.${place}) config; }
          else fail "${service} is not known here: name its `units`";
      }
    )
)
