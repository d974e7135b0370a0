# The vars of a clan for a test: every generator is run anew, prompts are answered with text, and secrets are encrypted
# for Clan's own test key, as `clanTest` does. No secret of the clan is needed, and none of its files with secrets is
# copied. It is built while the flake is evaluated.
{ lib, pkgs, clan-core }:
{ name
  # The clan's own directory.
, directory
  # Configurations of its machines, by name.
, nodes
}:
let
  executor = import (clan-core.clanLib.test.ageModule + "/../../clanTest/vars-executor.nix") { inherit lib; };
  # For the key that the machines get, which only the module says that gives it to them.
  given = import clan-core.clanLib.test.ageModule { inherit lib; config = { }; };
  installs = pkgs.writeText "installs-test-key" given.system.activationScripts.testAgeKeySetup.text;
  recipient = "$(sed -n 's/^ *AGE-SECRET/AGE-SECRET/p' ${installs} | age-keygen -y)";
  generated = executor.generateVarsDerivation pkgs nodes recipient;
  kept = builtins.path {
    name = "clan-${name}";
    path = directory;
    filter = path: _:
      !(builtins.elem (lib.removePrefix "${toString directory}/" path) [ ".git" "secrets" "sops" "vars" ]);
  };
in
pkgs.runCommand "clan-${name}-vars" { } ''
  mkdir $out
  cp -r ${kept}/. $out/
  chmod -R u+w $out
  cp -r ${generated}/vars ${generated}/secrets $out/
''
