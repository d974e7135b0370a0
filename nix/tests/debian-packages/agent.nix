# The agent of a Debian guest image, as the package that the flake builds.
{ pkgs, guest }:
derivation {
  name = "meshbench-agent";
  inherit (pkgs) system;
  inherit guest;
  builder = "${pkgs.bash}/bin/bash";
  PATH = pkgs.lib.makeBinPath [ pkgs.coreutils pkgs.erofs-utils ];
  args = [
    "-euc"
    ''
      fsck.erofs --extract=layer $guest/agent.erofs
      mkdir -p $out/bin
      cp layer/usr/lib/meshbench/agent $out/bin/meshbench-agent
      exit 0
    ''
  ];
}
