{ pkgs, ... }:
{
  # `services.nebula` keeps certificates and settings in the store; here the lifecycle makes both in the guest.
  environment.systemPackages = [
    pkgs.nebula
    pkgs.openssh
  ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedUDPPorts = [ 4242 ];
  networking.firewall.trustedInterfaces = [ "nebula1" ];
}
