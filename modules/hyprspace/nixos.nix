{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.hyprspace ];
  boot.kernelModules = [ "tun" ];
  networking.firewall = {
    allowedTCPPorts = [ 8001 ];
    allowedUDPPorts = [ 8001 ];
    trustedInterfaces = [ "hyprspace" ];
  };
}
