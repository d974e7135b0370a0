# fromClan on clan-core itself; ./clan.sh says with what. Its inputs are folders, and flakes are evaluated without Nix's
# flake machinery.
{ core
, # A folder with clan-core's inputs: flake-parts, sops-nix, disko, and nixpkgs.lib if nixpkgs is older.
  inputs
, nixpkgs
, # Vars of all machines below, as `clan vars generate` leaves them.
  vars
, # For a nixpkgs that is older; see debian-packages/.
  words
, archive ? "/nowhere"
, guest ? null
, release ? "0"
, compiled ? { }
}:
let
  system = "x86_64-linux";
  folder = path: /. + path;
  flake = path: arguments:
    let
      result = (import (folder path + "/flake.nix")).outputs (arguments // { inherit self; });
      self = result // { outPath = path; inputs = arguments; sourceInfo.outPath = path; _type = "flake"; };
    in
    self;

  plain = import (folder nixpkgs + "/lib");
  isOld = plain.versionOlder plain.trivial.release "25.11";
  shim = import ./debian-packages {
    nixpkgs = folder nixpkgs;
    library = folder inputs + "/nixpkgs.lib/lib";
    words = folder words;
    inherit archive guest release compiled;
  };
  given = if isOld then shim // { inputs = { }; _type = "flake"; } else flake nixpkgs { };
  inherit (given) lib;
  pkgs = given.legacyPackages.${system};

  flake-parts = flake "${inputs}/flake-parts" { nixpkgs-lib = given; };
  clan-core = flake core {
    nixpkgs = given;
    nix-darwin = { };
    inherit flake-parts;
    disko.nixosModules.default = folder inputs + "/disko/module.nix";
    sops-nix.nixosModules.sops = folder inputs + "/sops-nix/modules/sops";
    systems = builtins.toFile "systems.nix" "[ \"${system}\" ]";
    treefmt-nix = { };
    nix-select = { };
    data-mesher.nixosModules.data-mesher = { };
  };

  meshbench = import ../default.nix {
    self = { outPath = ../..; };
    nixpkgs = given;
  };

  # Clan's defaults for networkd are of types that an older one has not.
  fitting = lib.optionalAttrs isOld {
    clan.core.enableRecommendedDefaults = false;
    # And it has not, or not in this form, the modules of these.
    systemd.services = lib.genAttrs [ "mycelium" "zerotierone" ] (_: {
      serviceConfig.ExecStart = lib.mkDefault "/bin/false";
    });
  };
  # A clan as Clan's templates have it: `clan-core.lib.clan`, and its configuration as the output `clan`.
  clanOf = clanAt (folder vars);
  clanAt = directory: module:
    let
      made = clan-core.lib.clan {
        inherit self directory;
        imports = [ module ];
        meta.name = "test";
        meta.domain = "test.example";
        specialArgs.answer = 42;
        machines = lib.genAttrs [ "laptop" "desktop" "server" ] (_: { answer, ... }: {
          imports = [ fitting ];
          environment.etc.answer.text = toString answer;
        });
      };
      self = {
        inputs = { inherit self clan-core; nixpkgs = given; };
        outPath = vars;
        clan = made.config;
        inherit (made.config) nixosConfigurations nixosModules clanInternals;
      };
    in
    { inherit self made; };
  # The same with flake-parts, and what its flake imports.
  partsOf = module: more:
    let
      inputs = { inherit self clan-core flake-parts meshbench; nixpkgs = given; };
      self = flake-parts.lib.mkFlake { inherit inputs; } {
        systems = [ system ];
        imports = [ (more inputs) ];
        clan = {
          imports = [ module ];
          meta.name = "test";
          meta.domain = "test.example";
          directory = folder vars;
          machines = lib.genAttrs [ "laptop" "desktop" "server" ] (_: fitting);
        };
      } // { inherit inputs; outPath = vars; };
    in
    self;

  everyone = { laptop = { }; desktop = { }; server = { }; };
  service = name: roles: {
    inventory.machines = everyone;
    inventory.instances.vpn = { module.name = name; inherit roles; };
  };
  wireguard = lib.recursiveUpdate
    (service "wireguard" {
      controller.machines.server.settings.endpoint = "vpn.example.org";
      peer.machines = { laptop = { }; desktop = { }; };
    })
    { inventory.instances.internet.roles.default.machines.server.settings.host = "server.example.org"; };
  yggdrasil = service "yggdrasil" { default.machines = everyone; };
  mycelium = service "mycelium" { peer.machines = everyone; };
  zerotier = service "zerotier" {
    controller.machines.server = { };
    peer.machines = { laptop = { }; desktop = { }; };
  };
  # By tags of machines, in place of their names.
  tagged = { inventory.machines.server.tags = [ "public" ]; };
  wireguard-tags = lib.recursiveUpdate tagged (service "wireguard" {
    controller.tags.public.settings.endpoint = "vpn.example.org";
    peer.machines = { laptop = { }; desktop = { }; };
  });
  yggdrasil-tags = lib.recursiveUpdate tagged (service "yggdrasil" {
    default = { tags = { all = { }; public.settings.ports.tcp = 7443; }; };
  });
  zerotier-tags = lib.recursiveUpdate tagged (service "zerotier" {
    controller.tags.public = { };
    peer.machines = { laptop = { }; desktop = { }; };
  });
  two = lib.recursiveUpdate wireguard {
    inventory.instances.mesh = { module.name = "yggdrasil"; roles.default.machines = everyone; };
  };
  # A service that this project has never heard of, whatever it is called.
  own = ownService "@me/own";
  ownService = name: lib.recursiveUpdate
    (service name { peer.machines = everyone; })
    {
      inventory.instances.vpn.module.input = "self";
      modules.${name} = serviceModule name "own";
    };
  serviceModule = name: unit: { ... }: {
    _class = "clan.service";
    manifest.name = name;
    manifest.description = "A VPN of one's own";
    manifest.readme = "";
    manifest.exports.out = [ "peer" ];
    roles.peer.description = "A peer";
    roles.peer.perInstance = { machine, mkExports, ... }: {
      exports = mkExports { peer.hosts = [{ plain = "${machine.name}.own"; }]; };
      nixosModule = { pkgs, ... }: {
        systemd.services.${unit} = {
          wantedBy = [ "multi-user.target" ];
          serviceConfig.ExecStart = "${pkgs.coreutils}/bin/true";
        };
      };
    };
  };

  # What ../clan.md shows: the indented text that has `part`, as a file with these arguments.
  page = part: arguments:
    let
      isCode = line: line == "" || lib.hasPrefix "    " line;
      blocks = builtins.foldl'
        (all: line:
          if isCode line then lib.init all ++ [ "${lib.last all}${lib.removePrefix "    " line}\n" ] else all ++ [ "" ])
        [ "" ]
        (lib.splitString "\n" (builtins.readFile ../clan.md));
      block = lib.findFirst (lib.hasInfix part) (throw "clan.md does not show ${part}") blocks;
      # Files of somebody else's.
      text = builtins.replaceStrings
        [ "./tests/vm/default.nix" "./default.nix" "./test.nix" ]
        [ "vm" "default" "test" ]
        block;
    in
    import (builtins.toFile "snippet.nix" "{ ${lib.concatStringsSep ", " (lib.attrNames arguments)} }: {\n${text}}\n")
      arguments;
  shown = {
    # Nothing is built here, so that vars are not generated.
    inventory = { inventory.machines = everyone; } // page "inventory.instances.vpn = {" { };
    parts = inputs:
      let part = page "inputs.meshbench.flakeModules.default" { inherit inputs; }; in
      part // {
        perSystem = _:
          lib.recursiveUpdate (part.perSystem { }) { meshbench.checks.vpn.vars = folder vars; };
      };
    plain = self: (page "clan = self;" {
      inherit self;
      inputs = {
        nixpkgs = given;
        meshbench.lib.mkChecks = arguments:
          meshbench.lib.mkChecks (lib.recursiveUpdate arguments { checks.vpn.vars = folder vars; });
      };
    }).checks.${system};
    nixos-test = (page "test = ./test.nix" {
      inputs = { inherit meshbench; nixpkgs = given; };
      test = {
        name = "tinc";
        nodes = lib.genAttrs [ "client1" "client2" "server" ] (_: { pkgs, ... }: {
          # What a test says of its virtual machines, old and new.
          virtualisation = { memorySize = 1024; writableStore = true; vlans = [ 1 ]; };
          systemd.services."tinc.mesh".serviceConfig.ExecStart = "${pkgs.coreutils}/bin/true";
        });
        testScript = "";
      };
    }).checks.${system};
    test = (page "perSystem.clan.nixosTests.mine" {
      inputs = { inherit meshbench; };
      default = serviceModule "@clan/mine" "mine";
      vm = {
        name = "mine";
        clan.directory = folder vars;
        clan.inventory = {
          machines = lib.genAttrs [ "peer1" "peer2" "server" ] (_: { });
          instances.mine-test = {
            module.name = "@clan/mine";
            module.input = "self";
            roles.peer.tags.all = { };
          };
        };
        clan.machines = lib.genAttrs [ "peer1" "peer2" "server" ] (_: fitting);
        testScript = "";
      };
    }).perSystem.clan.nixosTests.mine;
  };
  # A test as Clan's `clan.nixosTests` runs it, by clan-core's clanTest; of nixpkgs' runTest only the options, because
  # an older one has none. Vars are those given, or they would be built.
  clanTest = test: (lib.evalModules {
    modules = [
      clan-core.modules.nixosTest.clanTest
      test
      {
        config._module.freeformType = lib.types.lazyAttrsOf lib.types.raw;
        options = lib.genAttrs [ "hostPkgs" "name" "passthru" ] (_: lib.mkOption { type = lib.types.raw; })
          // lib.genAttrs [ "nodes" "containers" ] (_: lib.mkOption { type = lib.types.lazyAttrsOf lib.types.raw; });
        config.hostPkgs = pkgs;
        config._module.args.hostPkgs = pkgs;
        config.clan.varsDirectory = lib.mkForce (folder vars);
      }
    ];
  }).config;

  places = { alice = "laptop"; bob = "desktop"; hub = "server"; };
  from = clan: arguments: meshbench.lib.fromClan ({
    inherit pkgs clan;
    instance = "vpn";
    machines = places;
    vars = folder vars;
  } // arguments);
  # Whom alice's yggdrasil speaks to.
  peersOf = clan: arguments:
    (from (clanOf clan).self arguments).configurations.alice.services.yggdrasil.settings.Peers;
  numbered = clan: lib.recursiveUpdate clan
    { inventory.instances.internet.roles.default.machines.server.settings.host = "203.0.113.7"; };
  # By the name of the check.
  checks = lib.mapAttrs (_: check: builtins.seq check.drvPath check.told);
  # Vars as fromClan generates them if none are given: what would be built.
  generated = pkgs: clan: import ../clan-vars.nix { inherit lib pkgs clan-core; } {
    name = "vpn";
    inherit ((clanOf clan).self.clan) directory;
    nodes = lib.mapAttrs (_: machine: machine.config) (clanOf clan).self.clanInternals.machines.${system};
  };
  # The same as the text of its commands, of which each var of WireGuard is one that says so.
  kept = clan: lib.unique (lib.concatMap
    (line:
      let said = builtins.match " *echo \"  (copied|encrypted) [a-z-]+ [a-z]+: (.*/wireguard-.*)\"" line; in
      lib.optional (said != null) "${lib.last said}, ${lib.head said}")
    (lib.splitString "\n" (generated (pkgs // { runCommand = _: _: text: text; }) clan)));
  told = result: builtins.deepSeq [ result.folder.drvPath result.guest.drvPath ] result.told;

  # Attribute paths of `stub` that `real` lacks.
  lacks = path: stub: real:
    if !(builtins.isAttrs stub) || stub ? outPath || stub ? _type || stub.type or "" == "derivation" then [ ]
    else lib.concatLists (lib.mapAttrsToList
      (name: value: let dotted = path ++ [ name ]; in
        if !(real ? ${name}) then [ (lib.concatStringsSep "." dotted) ] else lacks dotted value real.${name})
      stub);
  stub = import ./stub/clan.nix { lib = (import ./stub).lib; } {
    machines = lib.mapAttrs (_: _: { }) everyone;
    instances.vpn = { module.name = "wireguard"; roles.peer = { }; };
    exports = { "clan-core/wireguard:vpn:peer:laptop" = "laptop.vpn"; };
  };
  stubMachine = builtins.removeAttrs stub.config.clanInternals.machines.${system}.laptop [ "config" ];
in
{
  inherit meshbench pkgs clan-core from clanOf;
  inherit wireguard yggdrasil mycelium zerotier own;

  # What the stub says of a clan is so.
  missing =
    lacks [ "clan" ] (stub.config // { clanInternals = removeAttrs stub.config.clanInternals [ "machines" ]; })
      (clanOf wireguard).self.clan
    ++ lacks [ "machine" ] stubMachine (clanOf wireguard).self.clanInternals.machines.${system}.laptop
    ++ lacks [ "clan-core" "clanLib" ] stubMachine._module.specialArgs.clan-core.clanLib clan-core.clanLib;

  evaluated = {
    wireguard = told (from (clanOf wireguard).self { });
    wireguard-flake-parts = told (from (partsOf wireguard (inputs: inputs.clan-core.flakeModules.default)) { });
    wireguard-evaluated = told (from (clanOf wireguard).made { });
    yggdrasil = told (from (clanOf yggdrasil).self { });
    mycelium = told (from (clanOf mycelium).self { });
    zerotier = told (from (clanOf zerotier).self { });
    own = told (from (clanOf own).self { units = [ "own.service" ]; });
    own-wireguard = told (from (clanOf (ownService "@me/wireguard")).self { units = [ "own.service" ]; });
    wireguard-tags = told (from (clanOf wireguard-tags).self { });
    yggdrasil-tags = told (from (clanOf yggdrasil-tags).self { });
    zerotier-tags = told (from (clanOf zerotier-tags).self { });
    vars = (generated pkgs zerotier).drvPath;

    # As ../clan.md shows it.
    page-flake-parts = checks (partsOf shown.inventory shown.parts).checks.${system};
    page-plain = checks (shown.plain (clanOf shown.inventory).self);
    page-nixos-test-alone = checks shown.nixos-test;
    page-nixos-test = checks (clanTest shown.test).passthru.meshbench;
  };

  # What was made of it: name -> [ what it is, what it has to be ].
  compared = {
    tagged-controller = [ (from (clanOf wireguard-tags).self { }).told.aliases."vpn.example.org" "hub" ];
    tagged-hub = [ (peersOf yggdrasil-tags { }) [ "tcp://hub:7443" ] ];
    tagged-peers = [
      (lib.naturalSort (peersOf
        (lib.recursiveUpdate yggdrasil-tags {
          inventory.instances.vpn.roles.default = {
            settings.extraPeers = [ "tls://one.example.org:443" ];
            tags.all.settings.extraPeers = [ "tls://two.example.org:443" ];
          };
        })
        { aliases = lib.genAttrs [ "one.example.org" "two.example.org" ] (_: "hub"); }))
      [ "tcp://hub:7443" "tls://one.example.org:443" "tls://two.example.org:443" ]
    ];
    vars = [
      (kept wireguard)
      (lib.concatMap
        (machine: [
          "${machine}/wireguard-keys-vpn/privatekey, encrypted"
          "${machine}/wireguard-keys-vpn/publickey, copied"
          "${machine}/wireguard-network-vpn/${if machine == "server" then "prefix" else "suffix"}, copied"
        ])
        [ "desktop" "laptop" "server" ])
    ];
    # What another instance runs does not carry what is measured.
    aside =
      let
        two = lib.recursiveUpdate zerotier {
          inventory.instances.mesh = { module.name = "yggdrasil"; roles.default.machines = everyone; };
        };
        mesh = from (clanOf two).self { instance = "mesh"; };
      in
      [
        [ mesh.configurations.alice.systemd.services.zerotierone.wantedBy mesh.told.remarks ]
        [
          [ ]
          (map (machine: "zerotierone.service of ${machine} is another instance's, and is not started")
            [ "laptop" "desktop" "server" ])
        ]
      ];
    # Units are named after vars, and the clan's own are others than the test's.
    aside-of-other-vars =
      let
        inherit (from (clanAt ./stub two).self { instance = "mesh"; }) configurations;
        starts = name: unit: lib.hasPrefix "wireguard-vpn" name && unit.wantedBy != [ ];
      in
      [ (lib.attrNames (lib.filterAttrs starts configurations.alice.systemd.services)) [ ] ];
    aside-by-networkd = [
      (from (clanOf (lib.recursiveUpdate two {
        machines = lib.mapAttrs (_: _: { networking.useNetworkd = true; }) everyone;
      })).self { instance = "mesh"; }).told.remarks
      (map (machine: "40-vpn of ${machine} is another instance's, and is not made") [ "laptop" "desktop" "server" ])
    ];
    # A namesake is not what it is called after.
    namesake = [
      (from (clanOf (ownService "@me/wireguard")).self { units = [ "own.service" ]; }).told.machines.alice
      { addresses = [ "laptop.own" ]; units = [ "own.service" ]; }
    ];
    numbered-host = [
      (from (clanOf (numbered wireguard)).self { }).told.remarks
      [
        ("the host of server in instances.internet is the address 203.0.113.7, which no machine of a scenario has: "
          + "give it a name there")
      ]
    ];
  };

  # Each of these has to be told in one message; the attribute's name is what the message has to say.
  refused = {
    "there is no such instance; the inventory has internet, vpn" = from (clanOf wireguard).self { instance = "vpm"; };
    "this is a service, of the instances vpn: name one of them" =
      from (clanOf wireguard).self { instance = "wireguard"; };
    "there is no machine phone; the clan has desktop, laptop, server with NixOS" =
      from (clanOf wireguard).self { machines = places // { bob = "phone"; }; };
    "laptop cannot stand at two places" = from (clanOf wireguard).self { machines = places // { bob = "laptop"; }; };
    "zerotier meets its peers at roots on the Internet" =
      from (clanOf zerotier).self { machines = { inherit (places) alice bob; }; };
    "server has to stand somewhere, too" = from
      (clanOf (lib.recursiveUpdate zerotier {
        inventory.machines.relay = { };
        inventory.instances.vpn.roles.peer.machines.relay = { };
      })).self
      { machines = places // { hub = "relay"; }; };
    "relay has to stand somewhere, too" = from
      (clanOf (lib.recursiveUpdate zerotier-tags {
        inventory.machines = { server.tags = lib.mkForce [ ]; relay.tags = [ "public" ]; };
        inventory.instances.vpn.roles.peer.machines.server = { };
      })).self
      { };
    "the endpoint of server in instances.vpn.roles.controller is not set" = from
      (clanOf (service "wireguard" {
        controller.machines.server = { };
        peer.machines = { laptop = { }; desktop = { }; };
      })).self
      { };
    "the endpoint of server in instances.vpn.roles.controller is the address 203.0.113.8" = from
      (clanOf (lib.recursiveUpdate wireguard-tags {
        inventory.instances.vpn.roles.controller.tags.public.settings.endpoint = "203.0.113.8";
      })).self
      { };
    "the host of server in instances.internet is the address 203.0.113.7" =
      from (clanOf (numbered yggdrasil)).self { };
    "bob is a machine of the clan, but laptop stands at bob" = from
      (clanOf (lib.recursiveUpdate yggdrasil {
        inventory.machines.bob = { };
        inventory.instances.vpn.roles.default.machines.bob = { };
      })).self
      { machines = { alice = "bob"; bob = "laptop"; hub = "server"; }; };
    "internet is no VPN" = from (clanOf wireguard).self { instance = "internet"; };
    "is the address 203.0.113.7, which no machine of a scenario has" = from
      (clanOf (lib.recursiveUpdate wireguard {
        inventory.instances.vpn.roles.controller.machines.server.settings.endpoint = "203.0.113.7";
      })).self
      { };
    "is vpn.example.org, where nobody stands" =
      from (clanOf wireguard).self { machines = { inherit (places) alice bob; }; };
    "desktop is not in it; the machines that are: laptop, server" = from
      (clanOf (service "yggdrasil" { default.machines = { laptop = { }; server = { }; }; })).self
      { };
    "vpn, other are instances of one service, yggdrasil" = from
      (clanOf (lib.recursiveUpdate yggdrasil {
        inventory.instances.other = yggdrasil.inventory.instances.vpn;
      })).self
      { };
    # networkd makes the interfaces of both.
    "vpn, other are instances of one service, wireguard" = from
      (clanOf (lib.recursiveUpdate wireguard {
        inventory.instances.other = lib.recursiveUpdate wireguard.inventory.instances.vpn {
          roles.controller.machines.server.settings.port = 51821;
        };
        machines.server.networking.useNetworkd = true;
      })).self
      { };
    "is mesh.example.org, where nobody stands" = from
      (clanOf (lib.recursiveUpdate yggdrasil-tags {
        inventory.instances.vpn.roles.default.tags.all.settings.extraPeers = [ "tls://mesh.example.org:443" ];
      })).self
      { };
    "is public.example.org, where nobody stands" = from
      (clanOf (lib.recursiveUpdate yggdrasil {
        inventory.instances.vpn.roles.default.settings.extraPeers = [ "tls://public.example.org:443" ];
      })).self
      { };
    "is query.example.org, where nobody stands" = from
      (clanOf (lib.recursiveUpdate yggdrasil {
        inventory.instances.vpn.roles.default.settings.extraPeers = [ "tls://query.example.org:443?key=ab" ];
      })).self
      { };
    "wireguard needs a controller, and no machine has that role; the roles of the instance: peer" = from
      (clanOf (service "wireguard" { peer.machines = { laptop = { }; desktop = { }; }; })).self
      { machines = { inherit (places) alice bob; }; };
    "lan has no place hubb; it has alice bob hub" = {
      folder = (from (clanOf wireguard).self { machines = { inherit (places) alice bob; hubb = "server"; }; }).mkCheck {
        scenario = "lan";
      };
    };
    "many-3 needs somebody at peer1, too" = {
      folder = (from (clanOf wireguard).self { }).mkCheck { scenario = "many-3"; };
    };
    "`aliases` leads to hubb, where nobody stands" =
      from (clanOf wireguard).self { aliases."mail.example.org" = "hubb"; };
    "check vpn: there is no key scenario; keys are address" = {
      folder = (meshbench.lib.mkChecks {
        inherit pkgs;
        clan = (clanOf wireguard).self;
        checks.vpn = { machines = places; scenario = [ "lan" ]; };
      }).vpn-lan;
    };
    "stub/wireguard has no folder vars" = from (clanOf wireguard).self { vars = ./stub + "/wireguard"; };
    "somebody has to stand at bob" = from (clanOf wireguard).self { machines = { inherit (places) alice hub; }; };
    "own is not known here: name its `units`" = from (clanOf own).self { };
    "there is no unit owm.service of alice" = from (clanOf own).self { units = [ "owm.service" ]; };
    "`clan` is neither a flake with an output `clan`" = from { } { };
  };
}
