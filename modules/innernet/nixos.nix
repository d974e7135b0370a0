{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.innernet ];
  boot.kernelModules = [ "wireguard" ];
  networking.firewall = {
    allowedUDPPorts = [ 51820 ];
    trustedInterfaces = [ "meshbench" ];
  };
}
