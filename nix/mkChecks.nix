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
  made = name: given:
    let source = { inherit pkgs; } // removeAttrs given measured; in
    if given ? folder then { mkCheck = arguments: mkCheck (source // { module = name; } // arguments); }
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
