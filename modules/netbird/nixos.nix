{ pkgs, ... }:
{
  environment.systemPackages = [
    pkgs.netbird
    (pkgs.netbird.overrideAttrs (_: {
      pname = "netbird-server";
      subPackages = [ "combined" ];
      postInstall = "mv $out/bin/combined $out/bin/netbird-server";
      doInstallCheck = false;
    }))
  ];
  boot.kernelModules = [
    "wireguard"
    "tun"
  ];
  networking.firewall = {
    allowedTCPPorts = [ 80 ];
    allowedUDPPorts = [
      3478
      51820
    ];
    trustedInterfaces = [ "wt0" ];
  };
}
