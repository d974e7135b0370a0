{ pkgs, ... }:
{
  environment.systemPackages = [
    pkgs.openvpn
    pkgs.openssl
  ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedUDPPorts = [ 1194 ];
  networking.firewall.trustedInterfaces = [ "ovpn0" ];
}
