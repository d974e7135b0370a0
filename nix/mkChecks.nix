# mkChecks: several VPNs on several scenarios, as a flake names its checks: NAME-SCENARIO.
#
#   meshbench.lib.mkChecks {
#     inherit pkgs;
#     clan = self;
#     checks.vpn = {
#       machines = { alice = "laptop"; bob = "desktop"; hub = "server"; };
#       scenarios = [ "lan" "lte-roaming" ];
#     };
#   }
{ lib, fromNodes, fromClan, fromNixosTest, mkCheck }:
{ pkgs
, # By name. What has `nodes` is for fromNodes, what has `test` for fromNixosTest, what has `folder` is a module, and
  # the rest an instance of the clan, of the same name if it does not say which.
  checks
, clan ? null
}:
let
  # As in ./mkCheck.nix.
  measured = [ "arguments" "blocks" "clock" "contract" "features" "quick" "scenarios" "seed" "strict" "workloads" ];
  takes = function: builtins.attrNames (builtins.functionArgs function);
  # What it takes, whatever it is made with.
  ofNodes = takes (import ./from-nodes.nix { inherit lib; pkgs = null; mkGuest = null; mkCheck = null; });
  made = name: given:
    let
      source = { inherit pkgs; } // removeAttrs given measured;
      keys =
        if given ? folder then measured ++ [ "folder" "guest" ]
        else
          measured ++ ofNodes
          ++ (if given ? nodes then [ ] else takes (if given ? test then fromNixosTest else fromClan));
      sorted = builtins.sort builtins.lessThan (lib.unique keys);
      unknown = builtins.filter (key: !(builtins.elem key keys)) (builtins.attrNames given);
      isClans = !(given ? folder || given ? nodes);
      fail = text: throw "check ${name}: ${text}";
    in
    if unknown != [ ] then
      fail "there is no key ${toString unknown}; keys are ${toString sorted}"
    else if isClans && !(given ? machines) then fail "`machines` has to say who stands at alice, bob and hub"
    else if !(builtins.isList (given.scenarios or [ ])) then fail "`scenarios` is a list of names"
    else if given ? folder then { mkCheck = arguments: mkCheck (source // { module = name; } // arguments); }
    else if given ? nodes then fromNodes ({ inherit name; } // source)
    else if given ? test then fromNixosTest ({ inherit name; } // source)
    else fromClan ({ inherit name clan; instance = name; } // source);
  one = name: given: scenario: lib.nameValuePair "${name}-${scenario}" ((made name given).mkCheck (
    { clock = "virtual"; }
    // builtins.intersectAttrs (lib.genAttrs measured (_: null)) (removeAttrs given [ "scenarios" ])
    // { inherit scenario; }
  ));
in
lib.listToAttrs (lib.concatLists (lib.mapAttrsToList
  (name: given: map (one name given) (given.scenarios or [ "lan" "home-dsl" ]))
  checks))
