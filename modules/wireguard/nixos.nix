{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.wireguard-tools ];
  boot.kernelModules = [ "wireguard" ];
  networking.firewall.allowedUDPPorts = [ 51820 ];
  networking.firewall.trustedInterfaces = [ "wg0" ];
}
