{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.mycelium ];
  boot.kernelModules = [ "tun" ];
  networking.firewall = {
    allowedTCPPorts = [ 9651 ];
    allowedUDPPorts = [
      9650
      9651
    ];
    trustedInterfaces = [ "mycelium0" ];
  };
}
