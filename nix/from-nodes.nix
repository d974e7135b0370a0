# fromNodes: a VPN as somebody already runs it. NixOS configurations of its members, as they are, become machines of a
# cluster; each member is a whole system of its own in one image, and becomes itself when it is configured. What is done
# in the machine is in ./from-nodes.sh.
{ lib, pkgs, mkGuest, mkCheck }:
{
  # Of the module in results.
  name
  # By machine, NixOS modules or evaluated configurations, which keep their packages and special arguments: alice and
  # bob are measured, hub is the machine at a public place. They find each other by these names in /etc/hosts.
, nodes
  # Units that are the VPN, started by `run`: a list, or machine -> [ unit ].
, units
  # The VPN's interface, whose addresses are the overlay's; a pattern such as "zt*" will do …
, interface ? null
  # … or the addresses themselves, or names of the members' /etc/hosts: machine -> [ address ].
, address ? null
  # NixOS modules that all members get besides their own.
, modules ? [ ]
  # Other names of a machine: { "vpn.example.org" = "hub"; }.
, aliases ? { }
  # A command that succeeds as soon as the VPN can be asked for. The units run by then and the address is there; it must
  # not wait for another member, who may start later.
, ready ? "true"
  # Before the units are started, each time.
, prepare ? "true"
  # On hub, for the member $1: prints what that one needs to join, such as a key.
, admit ? null
  # On a member whose units were just started; what hub printed for it is in the file `admission`.
, join ? "true"
  # Prints direct, relayed or unknown for the overlay address $1, as the VPN itself tells.
, path ? "exit 64"
  # Loaded before the members start; by default what they ask for and a VPN may need.
, kernelModules ? null
, title ? name
, homepage ? "https://example.org/"
, # As in module.toml.
  claims ? { encryption = true; nat-traversal = "none"; relay = false; ipv6-underlay = false; }
, # What else there is to say of it, in `told`.
  remarks ? [ ]
, # More files of a command's choice, such as keys made when the flake was evaluated.
  extraPaths ? [ ]
}:
let
  # What was made of it, to look at: `nix eval --json .#checks.<system>.<name>.told`.
  told = {
    inherit aliases remarks;
    kernelModules = loaded;
    machines = lib.mapAttrs
      (machine: _: { units = unitsOf machine; }
        // (if interface != null then { inherit interface; } else { addresses = address machine; }))
      nodes;
  };
  fail = text: throw "fromNodes ${name}: ${text}";
  list = lib.concatStringsSep ", ";
  unitsOf = if builtins.isFunction units then units else _: units;

  # Each is evaluated like the image itself, and comes along in its store.
  member = machine: node: mkGuest ({
    inherit name;
    modules = lib.optional (!(node ? extendModules)) node
      ++ modules
      ++ [ ./from-nodes-member.nix { meshbench.vpn = unitsOf machine; } ];
  } // lib.optionalAttrs (node ? extendModules) { configuration = node; });
  members = lib.mapAttrs member nodes;
  systems = lib.mapAttrs (_: guest: guest.toplevel) members;

  # ./from-nodes-member.nix adds to services, so that a name alone says nothing.
  runs = config: unit:
    let service = lib.removeSuffix ".service" unit; in
    if service == unit then config.systemd.units ? ${unit}
    else
      removeAttrs config.systemd.services.${service}.serviceConfig [ "StandardError" "StandardOutput" ] != { }
      # What a package brings along, or systemd itself.
      || lib.hasPrefix "systemd-" service;
  absent = lib.concatLists (lib.mapAttrsToList
    (machine: guest: map (unit: "${unit} of ${machine}")
      (builtins.filter (unit: !(runs guest.config unit)) (unitsOf machine)))
    members);

  nowhere = builtins.filter (place: !(nodes ? ${place})) (builtins.attrValues aliases);
  unmanned = builtins.filter (place: !(nodes ? ${place})) [ "alice" "bob" ];

  wanted = [ "amneziawg" "fou" "gre" "ip_gre" "ipip" "sit" "tun" "vxlan" "wireguard" ];
  # A system has what it needs loaded on demand, which a sealed machine's containers cannot.
  asked = config: config.boot.kernelModules
    ++ lib.optional
    (config.networking.wireguard.interfaces or { } != { } || config.networking.wg-quick.interfaces or { } != { })
    "wireguard";
  loaded =
    if kernelModules != null then kernelModules
    else lib.unique (lib.concatLists (lib.mapAttrsToList
      (_: guest: builtins.filter (module: builtins.elem module wanted) (asked guest.config))
      members));

  text = lib.concatStringsSep "\n";
  function = name: body: "${name}() {\n${body}\n}\n";
  cases = f: map (machine: "  ${machine}) ${f machine} ;;") (builtins.attrNames nodes);
  byMachine = name: f: function name (text ([ "case $1 in" ] ++ cases f ++ [ "  *) return 1 ;;" "esac" ]));
  print = words: "printf '%s\\n' ${lib.escapeShellArgs words}";

  lifecycle = pkgs.writeScript "lifecycle" (
    "#!/bin/sh\nset -eu\n"
    + "aliases=${lib.escapeShellArg (builtins.toJSON aliases)}\n"
    + "interface=${lib.escapeShellArg (if interface == null then "" else interface)}\n"
    + byMachine "name_of_system" (machine: print [ systems.${machine} ])
    + byMachine "units" (machine: print (unitsOf machine))
    + byMachine "overlay" (machine: if address == null then ":" else print (address machine))
    + function "user_ready" ready
    + function "user_prepare" prepare
    + function "user_admit" (if admit == null then "exit 64" else admit)
    + function "user_join" join
    + function "user_path" path
    + builtins.readFile ./from-nodes.sh
  );

  spec = {
    inherit title homepage;
    # Its names are in /etc/hosts, where they follow nobody.
    claims = claims // { names = false; };
    summary = "NixOS configurations of ${toString (builtins.attrNames nodes)}";
    software.debian.kernel-modules = loaded;
    role = lib.optional (nodes ? hub) { name = "coordinator"; } ++ [{ name = "peer"; }];
    config = { choices = [ "as configured" ]; documentation = homepage; };
  };

  folder = pkgs.runCommand "meshbench-module-${name}" { } ''
    mkdir $out
    cp ${(pkgs.formats.toml { }).generate "module.toml" spec} $out/module.toml
    cp ${lifecycle} $out/lifecycle
    echo '{ }' >$out/nixos.nix
  '';

  guest = mkGuest { inherit name; extraPaths = extraPaths ++ builtins.attrValues systems; };
in
if (interface == null) == (address == null) then fail "name either an interface or addresses"
else if unmanned != [ ] then fail "somebody has to stand at ${list unmanned}: every scenario measures between them"
else if nowhere != [ ] then fail "`aliases` leads to ${list nowhere}, where nobody stands"
else if absent != [ ] then fail "there is no unit ${list absent}"
else {
  # For `bench --guest` and `lib.mkRoot`.
  inherit folder guest systems told;
  # What each of them is, as evaluated.
  configurations = lib.mapAttrs (_: guest: guest.config) members;
  # Like lib.mkCheck: { scenario, … }.
  mkCheck = arguments:
    let own = { module = name; inherit folder guest; places = builtins.attrNames nodes; }; in
    mkCheck (own // arguments) // { inherit told; };
}
